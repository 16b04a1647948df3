//! Moves an amount from one account to another: two commands in two partitions, both or neither.
//!
//! It calls the commands `withdraw` and `deposit`, which have to be deployed.

use brink_sdk::{Halt, Problem, StepCall, Steps};

/// From whom, to whom, how much.
type Transfer = (String, String, u64);

/// Runs from its beginning after every step: it decides by its input and the answers of its steps alone.
fn transfer((from, to, amount): Transfer, steps: &mut Steps) -> Result<u64, Halt> {
    let call = |command: &str, account: &str| -> Result<StepCall, Problem> {
        StepCall::new(command, "accounts", account).json(&amount)
    };
    // If a later step fails, the money goes back.
    steps.call(call("withdraw", &from)?.undone_by(call("deposit", &from)?))?;
    // A refusal fails the workflow; the answer is its result.
    steps.call_json(call("deposit", &to)?)
}

brink_sdk::workflow!(transfer);

#[cfg(test)]
mod tests {
    use super::*;
    use brink_sdk::testing::Platform;
    use brink_sdk::workflows::State;

    #[test]
    fn both_or_neither() {
        let platform = Platform::new();
        platform.command("withdraw", |amount| Ok(amount.to_vec()));
        platform.command("deposit", |amount| Ok(amount.to_vec()));
        let input = ("ada", "grace", 5);
        assert_eq!(platform.run(&input, transfer), State::Completed(b"5".to_vec()));
        platform.command("withdraw", |_| Err(b"too little".to_vec()));
        assert_eq!(platform.run(&input, transfer), State::Failed(b"too little".to_vec()));
    }
}
