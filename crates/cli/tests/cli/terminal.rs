//! `twill shell` on a pseudo-terminal: editing, history, several lines, completion, Ctrl-C, Ctrl-D.

use std::os::unix::fs::PermissionsExt as _;

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};

use crate::harness::Bench;

const PROMPT: &str = "twill> ";
const LEFT: &str = "\u{1b}[D";
const UP: &str = "\u{1b}[A";
const BACKSPACE: &str = "\u{7f}";

fn start(bench: &Bench) -> PtySession {
    let command = bench.command(&["shell", "app.db", "-f", "list"]);
    let options = Options::new().timeout_ms(Some(30_000)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(command, options).unwrap();
    session.exp_string(PROMPT).unwrap();
    session
}

fn type_in(session: &mut PtySession, text: &str) {
    session.send(text).unwrap();
    session.flush().unwrap();
}

/// Types a line and expects an answer, then the prompt.
fn ask(session: &mut PtySession, line: &str, answer: &str) {
    session.send_line(line).unwrap();
    session.exp_string(answer).unwrap();
    session.exp_string(PROMPT).unwrap();
}

/// rexpect does not export the type of the status.
fn assert_exit_code(session: &PtySession, code: i32) {
    let status = format!("{:?}", session.process().wait().unwrap());
    assert!(status.starts_with("Exited") && status.ends_with(&format!(", {code})")), "{status}");
}

fn leave(mut session: PtySession) {
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    assert_exit_code(&session, 0);
}

#[test]
fn lines_are_edited_and_kept_for_the_next_time() {
    let bench = Bench::new();
    let mut session = start(&bench);
    type_in(&mut session, &format!("SELECT 'a' || 4000 + 3;{LEFT}{BACKSPACE}2"));
    ask(&mut session, "", "\n2\r\n");
    ask(&mut session, "SELECT 'th' || 'ree';", "\nthree\r\n");
    type_in(&mut session, &format!("{UP}{UP}"));
    ask(&mut session, "", "\n2\r\n");
    leave(session);

    let history = bench.path("state/twill/history");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut session = start(&bench);
    type_in(&mut session, &format!("{UP}{UP}"));
    ask(&mut session, "", "\nthree\r\n");
    leave(session);
}

#[test]
fn a_statement_goes_over_several_lines_until_it_is_complete() {
    let bench = Bench::new();
    let mut session = start(&bench);
    session.send_line("CREATE TABLE t(a);").unwrap();
    session.exp_string(PROMPT).unwrap();
    for line in ["CREATE TRIGGER x AFTER INSERT ON t BEGIN", "  SELECT 'a;", "b';", "  SELECT 1; -- ;"] {
        session.send_line(line).unwrap();
    }
    ask(&mut session, "END;", "");
    ask(&mut session, ".schema x", "\nCREATE TRIGGER x AFTER INSERT ON t BEGIN\r\n  SELECT 'a;\r\nb';\r\n");
    session.send_line("SELECT /* open ;").unwrap();
    ask(&mut session, "*/ 'clo' || 'sed';", "\nclosed\r\n");
    session.send_line("BEGIN;").unwrap();
    session.exp_string("twill*> ").unwrap();
    ask(&mut session, "COMMIT;", "");
    leave(session);
}

#[test]
fn names_are_completed() {
    let bench = Bench::new();
    bench.ok(&[
        "sql",
        "app.db",
        "CREATE TABLE cities(nickname, \"the rest\"); INSERT INTO cities VALUES ('found', 'too')",
    ]);
    let mut session = start(&bench);
    type_in(&mut session, "SELECT nickn\t FROM citi\t;");
    ask(&mut session, "", "\nfound\r\n");
    type_in(&mut session, "SELECT cities.the\t FROM cities;");
    ask(&mut session, "", "\ntoo\r\n");
    type_in(&mut session, ".tab\t");
    ask(&mut session, "", "\ncities\r\n");
    leave(session);
}

#[test]
fn errors_and_interrupts_do_not_leave() {
    let bench = Bench::new();
    let mut session = start(&bench);
    ask(&mut session, "SELECT missing;", "no such column: missing");
    ask(&mut session, ".bogus", "unknown command .bogus");

    // Ctrl-C forgets what is being typed.
    type_in(&mut session, "SELECT 'not this");
    session.send_control('c').unwrap();
    session.exp_string(PROMPT).unwrap();
    ask(&mut session, "SELECT 'the ' || 'next';", "\nthe next\r\n");

    // Ctrl-C ends a statement that would not end, twice as well as once.
    let endless = "SELECT 'run' || 'ning'; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;";
    for _ in 0..2 {
        session.send_line(endless).unwrap();
        session.exp_string("\nrunning\r\n").unwrap();
        session.send_control('c').unwrap();
        session.exp_string("interrupted").unwrap();
        session.exp_string(PROMPT).unwrap();
    }
    ask(&mut session, "SELECT 'still ' || 'here';", "\nstill here\r\n");
    ask(&mut session, "SELECT NULL;", "");
    leave(session);
}

#[test]
fn quit_leaves_with_its_code() {
    let bench = Bench::new();
    for (line, code) in [(".exit 3", 3), (".quit", 0), ("exit", 0), ("quit;", 0)] {
        let mut session = start(&bench);
        session.send_line(line).unwrap();
        session.exp_eof().unwrap();
        assert_exit_code(&session, code);
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let bench = Bench::new();
    for (wanted, name) in [(true, "UNUSED"), (false, "NO_COLOR")] {
        let mut command = bench.command(&["sql", ":memory:", "SELECT NULL; SELECT missing"]);
        command.env(name, "1");
        let mut session = spawn_with_options(command, Options::new().timeout_ms(Some(30_000))).unwrap();
        let shown = session.exp_eof().unwrap();
        assert!(shown.contains("no such column: missing"), "{shown}");
        assert_eq!(shown.contains('\u{1b}'), wanted, "{shown}");
    }
}
