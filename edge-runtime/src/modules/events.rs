//! `brink:platform/events`: a stream is read as the records that it is made of, so that its head and the range that was
//! asked for become tags of the answer: the next event takes it out of every cache.

use super::run::Run;
use async_trait::async_trait;
use brink_protocol::{
    event::{EventPage, head_key, page, range_after},
    record::{Page, RecordError},
};
use brink_sandbox::{Events, Records};

#[async_trait]
impl Events for Run {
    async fn read(
        &self,
        collection: String,
        partition: String,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, RecordError> {
        // Before the events, so that it names none that the page should have had.
        let head = self.get(head_key(&collection, &partition)).await?;
        let found = self.scan(range_after(&collection, &partition, after, limit));
        let oldest = async {
            if after == 0 {
                return Ok(Page::default());
            }
            self.scan(range_after(&collection, &partition, 0, 1)).await
        };
        let (found, oldest) = tokio::try_join!(found, oldest)?;
        page(found, head.as_ref(), oldest.entries.first())
            .map_err(|error| RecordError::Unavailable(format!("the stream is damaged: {error}")))
    }
}
