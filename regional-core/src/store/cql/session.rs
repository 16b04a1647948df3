//! The connection to the engine: prepared statements, and the consistency, timeout and retries of each kind of request.
//!
//! | request | consistency | asked again by the driver |
//! |---|---|---|
//! | read | `LOCAL_QUORUM` | yes, and of another replica when the first is slow |
//! | serial read | `LOCAL_SERIAL` or `SERIAL` | no |
//! | read of all data centres | `EACH_QUORUM` | yes |
//! | write | `LOCAL_QUORUM` or `EACH_QUORUM` | yes: only writes that may be repeated are done so |
//! | conditional write | the same, ordered by `LOCAL_SERIAL` or `SERIAL` | no: whoever does not know its outcome finds out |

pub(super) use super::bind::Bind;

use super::options::{Confirm, Options, Serial};
use crate::Error;
use scylla::{
    client::{
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    cluster::metadata::Strategy,
    deserialize::row::DeserializeRow,
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::{
        load_balancing::DefaultPolicy,
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    response::query_result::QueryResult,
    statement::{
        Consistency, SerialConsistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
    value::{CqlValue, Row},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How often a serial read is asked.
const SERIAL_READS_MAX: u32 = 3;
/// The wait before it is asked again, times how often it was.
const SERIAL_READ_PAUSE: Duration = Duration::from_millis(30);

/// What came of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// Its conditions held, and it was written.
    Yes,
    /// A condition did not hold. Nothing was written.
    No,
}

/// A request that the engine did not do, or of which it is not known whether it did.
#[derive(Debug)]
pub(super) struct Failure {
    /// The request itself is at fault: asking again does not help, and nothing was written.
    pub(super) is_ours: bool,
    /// What is told.
    pub(super) error: Error,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// What a row is read into.
pub(super) trait FromRow: for<'r> DeserializeRow<'r, 'r> {}

impl<R> FromRow for R where R: for<'r> DeserializeRow<'r, 'r> {}

/// The connection.
pub(super) struct Cql {
    session: Session,
    prepared: parking::Statements,
    reads: ExecutionProfileHandle,
    serial_reads: ExecutionProfileHandle,
    writes: ExecutionProfileHandle,
    conditional: ExecutionProfileHandle,
    global: ExecutionProfileHandle,
    global_reads: ExecutionProfileHandle,
    each_reads: ExecutionProfileHandle,
    confirm: Confirm,
    serial: Serial,
    is_spread: bool,
}

mod parking {
    //! Prepared statements by their text.
    use super::{Arc, HashMap, PreparedStatement};
    use std::sync::{PoisonError, RwLock};

    #[derive(Default)]
    pub(super) struct Statements(RwLock<HashMap<&'static str, Arc<PreparedStatement>>>);

    impl Statements {
        pub(super) fn get(&self, text: &str) -> Option<Arc<PreparedStatement>> {
            let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
            map.get(text).cloned()
        }

        pub(super) fn put(&self, text: &'static str, statement: Arc<PreparedStatement>) {
            let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
            map.insert(text, statement);
        }
    }
}

fn profile(options: &Options) -> scylla::client::execution_profile::ExecutionProfileBuilder {
    let balancing = DefaultPolicy::builder()
        .prefer_datacenter(options.data_center.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    let (confirm, serial) = (
        match options.confirm {
            Confirm::Local => Consistency::LocalQuorum,
            Confirm::Each => Consistency::EachQuorum,
        },
        match options.serial {
            Serial::Local => SerialConsistency::LocalSerial,
            Serial::Global => SerialConsistency::Serial,
        },
    );
    ExecutionProfile::builder()
        .load_balancing_policy(balancing)
        .request_timeout(Some(options.request_timeout))
        .consistency(confirm)
        .serial_consistency(Some(serial))
}

impl Cql {
    /// Connects, and goes into the keyspace if one is named.
    pub(super) async fn connect(options: &Options, keyspace: Option<&str>) -> Result<Self, Error> {
        const WHAT: &str = "connecting to the engine";
        let once = || profile(options).retry_policy(Arc::new(FallthroughRetryPolicy::new()));
        let again = || profile(options).retry_policy(Arc::new(DefaultRetryPolicy::new()));
        let speculative = options.speculative_delay.map(|delay| {
            let policy = SimpleSpeculativeExecutionPolicy {
                max_retry_count: 1,
                retry_interval: delay,
            };
            Arc::new(policy)
                as Arc<dyn scylla::policies::speculative_execution::SpeculativeExecutionPolicy>
        });
        let serial = match options.serial {
            Serial::Local => Consistency::LocalSerial,
            Serial::Global => Consistency::Serial,
        };
        let writes = again().build().into_handle();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.contact_points)
            .default_execution_profile_handle(writes.clone())
            .connection_timeout(options.connect_timeout)
            .prefer_datacenter(options.data_center.clone())
            .schema_agreement_interval(Duration::from_millis(20))
            .fetch_schema_metadata(true)
            .fetch_full_schema_metadata(false)
            .refresh_metadata_on_auto_schema_agreement(false);
        if let Some(credentials) = &options.credentials {
            builder = builder.user(&credentials.user, &credentials.password);
        }
        if let Some(tls) = &options.tls {
            builder = builder.tls_context(Some(Arc::clone(tls)));
        }
        if let Some(keyspace) = keyspace {
            builder = builder.use_keyspace(keyspace, false);
        }
        let session = builder
            .build()
            .await
            .map_err(|error| Error::store(WHAT, error))?;
        let is_spread = keyspace.is_some_and(|name| is_spread(&session, name));
        Ok(Self {
            session,
            confirm: options.confirm,
            serial: options.serial,
            is_spread,
            each_reads: again()
                .consistency(Consistency::EachQuorum)
                .build()
                .into_handle(),
            prepared: parking::Statements::default(),
            reads: again()
                .consistency(Consistency::LocalQuorum)
                .speculative_execution_policy(speculative)
                .build()
                .into_handle(),
            serial_reads: once().consistency(serial).build().into_handle(),
            writes,
            conditional: once().build().into_handle(),
            global: once()
                .serial_consistency(Some(SerialConsistency::Serial))
                .build()
                .into_handle(),
            global_reads: once()
                .consistency(Consistency::Serial)
                .build()
                .into_handle(),
        })
    }

    /// A statement that changes the schema; it cannot be prepared.
    pub(super) async fn define(&self, text: &str) -> Result<(), Error> {
        let mut statement = scylla::statement::Statement::new(text);
        statement.set_request_timeout(Some(Duration::from_secs(30)));
        self.session
            .query_unpaged(statement, ())
            .await
            .map_err(|error| Error::store("changing the schema", error))?;
        Ok(())
    }

    async fn statement(&self, text: &'static str) -> Result<Arc<PreparedStatement>, Failure> {
        if let Some(found) = self.prepared.get(text) {
            return Ok(found);
        }
        let mut statement = self.session.prepare(text).await.map_err(|error| Failure {
            is_ours: false,
            error: Error::store("preparing a statement", error),
        })?;
        // What a reading gives is named in it, column by column, and no migration changes a column's type: the engine need not
        // describe it in each answer. An answer to a condition has other columns when it is refused.
        statement.set_use_cached_result_metadata(text.starts_with("SELECT"));
        let statement = Arc::new(statement);
        self.prepared.put(text, Arc::clone(&statement));
        Ok(statement)
    }

    async fn execute(
        &self,
        text: &'static str,
        values: Vec<Bind>,
        profile: &ExecutionProfileHandle,
        may_repeat: bool,
    ) -> Result<QueryResult, Failure> {
        let mut statement = PreparedStatement::clone(&*self.statement(text).await?);
        statement.set_execution_profile_handle(Some(profile.clone()));
        statement.set_is_idempotent(may_repeat);
        self.session
            .execute_unpaged(&statement, values)
            .await
            .map_err(|error| failure(text, &error))
    }

    async fn read<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
        profile: &ExecutionProfileHandle,
    ) -> Result<Vec<R>, Error> {
        let result = self.execute(text, values, profile, true).await?;
        decode_rows(result)
    }

    async fn batch(
        &self,
        statements: Vec<(&'static str, Vec<Bind>)>,
        profile: &ExecutionProfileHandle,
    ) -> Result<Applied, Failure> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_execution_profile_handle(Some(profile.clone()));
        let text = statements.first().map_or("", |(text, _)| *text);
        let mut values = Vec::with_capacity(statements.len());
        for (text, bound) in statements {
            batch.append_statement(PreparedStatement::clone(&*self.statement(text).await?));
            values.push(bound);
        }
        let result = self
            .session
            .batch(&batch, values)
            .await
            .map_err(|error| failure(text, &error))?;
        applied(result)
    }

    /// Rows, from a quorum. What is read must have a bound in the statement.
    pub(super) async fn rows<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Vec<R>, Error> {
        self.read(text, values, &self.reads).await
    }

    /// Rows of one partition as they stand after every conditional write that was answered or will ever be from before
    /// now: what is half-way is finished or given up.
    pub(super) async fn serial_rows<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Vec<R>, Error> {
        self.read_again(text, values, &self.serial_reads).await
    }

    /// As [`Cql::read`]; serial reads of one partition are in each other's way, and a node that has just died makes one of
    /// them late. A read may be repeated.
    async fn read_again<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
        profile: &ExecutionProfileHandle,
    ) -> Result<Vec<R>, Error> {
        for attempt in 1..SERIAL_READS_MAX {
            match self.execute(text, values.clone(), profile, true).await {
                Err(failure) if !failure.is_ours => {
                    tracing::debug!(error = %failure.error, "asking the engine again");
                    tokio::time::sleep(SERIAL_READ_PAUSE * attempt).await;
                }
                done => return decode_rows(done?),
            }
        }
        self.read(text, values, profile).await
    }

    /// Rows from a quorum of each data centre, as they stand in any of them; where replicas differ, they are repaired
    /// before this answers.
    pub(super) async fn each_rows<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Vec<R>, Error> {
        self.read(text, values, &self.each_reads).await
    }

    /// Rows that a reading from a quorum showed in part, or not at all: after everything that is half-way, and from a quorum
    /// of each data centre where they may be in another alone.
    pub(super) async fn rows_again<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Vec<R>, Error> {
        if self.is_near_alone() {
            return self.each_rows(text, values).await;
        }
        self.serial_rows(text, values).await
    }

    /// Whether a quorum of this data centre may lack what a core of another has written and acknowledged.
    pub(super) fn is_near_alone(&self) -> bool {
        self.is_spread && self.confirm == Confirm::Local
    }

    /// Whether what is acknowledged is at a quorum of each data centre, and there are several.
    pub(super) fn confirms_each(&self) -> bool {
        self.is_spread && self.confirm == Confirm::Each
    }

    /// Whether there are several data centres, of which each orders its own conditional writes.
    pub(super) fn orders_alone(&self) -> bool {
        self.is_spread && self.serial == Serial::Local
    }

    /// Writes what may be written twice.
    pub(super) async fn write(&self, text: &'static str, values: Vec<Bind>) -> Result<(), Error> {
        self.execute(text, values, &self.writes, true).await?;
        Ok(())
    }

    /// Writes under a condition.
    pub(super) async fn conditional(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Applied, Failure> {
        let result = self.execute(text, values, &self.conditional, false).await?;
        applied(result)
    }

    /// Writes to one partition, all under their conditions or none.
    pub(super) async fn conditional_batch(
        &self,
        statements: Vec<(&'static str, Vec<Bind>)>,
    ) -> Result<Applied, Failure> {
        self.batch(statements, &self.conditional).await
    }
}

/// What cores of every data centre write: few and small tables.
impl Cql {
    /// Statements on one partition, all under their conditions or none, ordered among all data centres.
    pub(super) async fn global(
        &self,
        statements: Vec<(&'static str, Vec<Bind>)>,
    ) -> Result<Applied, Failure> {
        self.batch(statements, &self.global).await
    }

    /// As [`Cql::serial_rows`], among all data centres.
    pub(super) async fn global_rows<R: FromRow>(
        &self,
        text: &'static str,
        values: Vec<Bind>,
    ) -> Result<Vec<R>, Error> {
        self.read_again(text, values, &self.global_reads).await
    }
}

/// Whether a keyspace has replicas in several data centres.
fn is_spread(session: &Session, keyspace: &str) -> bool {
    let state = session.get_cluster_state();
    let Some(keyspace) = state.get_keyspace(keyspace) else {
        return false;
    };
    matches!(&keyspace.strategy, Strategy::NetworkTopologyStrategy { datacenter_repfactors }
        if datacenter_repfactors.len() > 1)
}

fn failure(text: &'static str, error: &ExecutionError) -> Failure {
    let is_ours = matches!(
        error,
        ExecutionError::BadQuery(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized,
                _
            ))
    );
    Failure {
        is_ours,
        // Statements are constants and hold no values.
        error: Error::store("a request to the engine", format!("{error} ({text})")),
    }
}

fn decode_rows<R: FromRow>(result: QueryResult) -> Result<Vec<R>, Error> {
    const WHAT: &str = "row";
    let rows = result
        .into_rows_result()
        .map_err(|error| Error::corrupt(WHAT, error))?;
    let rows = rows
        .rows::<R>()
        .map_err(|error| Error::corrupt(WHAT, error))?;
    rows.map(|row| row.map_err(|error| Error::corrupt(WHAT, error)))
        .collect()
}

/// Every engine answers a conditional write with rows that begin with whether it was applied.
fn applied(result: QueryResult) -> Result<Applied, Failure> {
    let unreadable = |error: String| Failure {
        is_ours: false,
        error: Error::corrupt("answer to a conditional write", error),
    };
    let rows = result
        .into_rows_result()
        .map_err(|error| unreadable(error.to_string()))?;
    let first: Row = rows
        .first_row()
        .map_err(|error| unreadable(error.to_string()))?;
    match first.columns.first() {
        Some(Some(CqlValue::Boolean(true))) => Ok(Applied::Yes),
        Some(Some(CqlValue::Boolean(false))) => Ok(Applied::No),
        _ => Err(unreadable("it does not say whether it was applied".into())),
    }
}
