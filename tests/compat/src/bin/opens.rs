//! `opens URL SQL`: opens a database, runs one statement, and tells how that went, on one line.
//!
//! ```text
//! ok <the first column of the first row>
//! error <code> <extended code> <message>
//! ```

use std::process::ExitCode;

use twill_engine::{Database, Error, Value};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(sql)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: opens URL SQL");
        return ExitCode::FAILURE;
    };
    match answer(&url, &sql) {
        Ok(value) => println!("ok {value:?}"),
        Err(error) => println!("error {} {} {}", error.code(), error.extended_code(), error.message()),
    }
    ExitCode::SUCCESS
}

fn answer(url: &str, sql: &str) -> Result<Value, Error> {
    let database = Database::open(url)?;
    let result = database.connect()?.query(sql, ())?;
    database.close()?;
    Ok(result.rows.into_iter().flatten().next().unwrap_or(Value::Null))
}
