//! A writer of a commit log; see `twill_tests_fencing::appender` for its arguments and what it says.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    twill_tests_fencing::appender::run(&arguments)
}
