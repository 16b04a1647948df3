//! Bodies of the control API about workflows.

use crate::ModuleName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Starts a workflow under an id. The same id again starts nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewWorkflow {
    /// 1 to 128 visible ASCII characters.
    pub id: String,
    /// The input, as JSON. At most 256 KiB without white space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub input: Option<Box<RawValue>>,
    /// The input in base64, if it is not JSON. Neither: it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// What came of starting a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartedWorkflow {
    /// Its id.
    pub id: String,
    /// It was started now; if not, it was there, with the same input.
    pub is_new: bool,
}

/// Why a workflow is cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelWorkflow {
    /// For people; it is in the workflow's failure. At most 1 KiB is kept.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WorkflowPhase {
    /// Steps are under way, or it waits for its time.
    Running,
    /// It failed or was cancelled; what was done is being compensated.
    Compensating,
    /// It stands still until it is retried or cancelled.
    Stuck,
    /// It ended well.
    Completed,
    /// It failed, and all that was done is compensated.
    Failed,
}

impl WorkflowPhase {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// A workflow in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowRow {
    /// The workflow's module.
    pub name: ModuleName,
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: WorkflowPhase,
    /// Decisions so far.
    pub steps: u64,
    /// When it was started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Why it stands still, or why the last attempt came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Workflows, the newest start first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowPage {
    /// They.
    pub workflows: Vec<WorkflowRow>,
    /// There may be more: go on with `before` set to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownWorkflow {
    /// What a list shows of it.
    #[serde(flatten)]
    pub row: WorkflowRow,
    /// The version of the module with which it began, and goes on.
    pub version: u64,
    /// The module that started it; none: an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<ModuleName>,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it was started with.
    pub input: ShownBytes,
    /// What it ended with, or failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ShownBytes>,
    /// When somebody looks at it next, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<u64>,
    /// The core node that is at work on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_work: Option<String>,
    /// Its decisions, oldest first.
    pub decisions: Vec<ShownStep>,
}

/// Bytes of a guest's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownBytes {
    /// If they are JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub json: Option<Box<RawValue>>,
    /// In base64, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// One decision of a workflow, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownStep {
    /// The command that it calls; none: it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ModuleName>,
    /// The collection of its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The key of its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// `calling`, `waiting`, `done`, `refused`, `elapsed` or `given-up`.
    pub state: String,
    /// What the command answered, or refused with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ShownBytes>,
    /// When it was decided, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When its outcome was known, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// The command that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<ModuleName>,
    /// When that was done, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensated_at_ms: Option<u64>,
}
