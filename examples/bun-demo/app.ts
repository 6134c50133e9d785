/**
 * The demo's app:
 *
 *   bun app.ts load <url> <vega-datasets directory>   creates the tables and loads them
 *   bun app.ts serve-writes <url>                     writes until it is killed, and prints `ack N` for each commit
 *   bun app.ts report <url> [N]                       real queries; exits with 1 unless all N acknowledged writes are there
 */
import { writeSync } from "node:fs";

import { readAirports, readFlights, readMovies } from "./dataset.ts";
import { report } from "./report.ts";
import { Connection, literal, sql, type Value, version } from "./twill.ts";

const SCHEMA = `
  CREATE TABLE airport(
    iata TEXT PRIMARY KEY, name TEXT NOT NULL, city TEXT, state TEXT, country TEXT NOT NULL,
    latitude REAL NOT NULL, longitude REAL NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE flight(
    id INTEGER PRIMARY KEY, departed_at TEXT NOT NULL, delay_minutes INTEGER NOT NULL, distance_miles INTEGER NOT NULL,
    origin TEXT NOT NULL REFERENCES airport, destination TEXT NOT NULL REFERENCES airport
  );
  CREATE INDEX flight_by_origin ON flight(origin, departed_at);
  CREATE TABLE movie(
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, released_on TEXT, record TEXT NOT NULL CHECK (json_valid(record)),
    genre TEXT AS (record ->> 'Major Genre'), rating REAL AS (record ->> 'IMDB Rating')
  );
  CREATE VIRTUAL TABLE movie_text USING fts5(title, content = 'movie', content_rowid = 'id', tokenize = 'porter');
  CREATE TABLE reading(n INTEGER PRIMARY KEY, taken_at TEXT NOT NULL);
  CREATE TABLE reading_count(only INTEGER PRIMARY KEY CHECK (only = 1), n INTEGER NOT NULL);
  INSERT INTO reading_count VALUES (1, 0);
`;

const ROWS_PER_INSERT = 500;

async function load(url: string, directory: string): Promise<void> {
  const [airports, flights, movies] = await Promise.all([
    readAirports(directory),
    readFlights(directory),
    readMovies(directory),
  ]);
  using db = new Connection(url);
  const started = performance.now();
  db.transaction(() => {
    db.query(SCHEMA);
    insert(db, "airport(iata, name, city, state, country, latitude, longitude)", airports.map((airport) => [
      airport.iata, airport.name, airport.city, airport.state, airport.country, airport.latitude, airport.longitude,
    ]));
    insert(db, "flight(departed_at, delay_minutes, distance_miles, origin, destination)", flights.map((flight) => [
      flight.departedAt, flight.delayMinutes, flight.distanceMiles, flight.origin, flight.destination,
    ]));
    insert(db, "movie(title, released_on, record)", movies.map((movie) => [
      movie.title, movie.releasedOn, JSON.stringify(movie.record),
    ]));
    db.query("INSERT INTO movie_text(movie_text) VALUES ('rebuild')");
  });
  const elapsed_ms = Math.round(performance.now() - started);
  console.log(
    `loaded ${airports.length} airports, ${flights.length} flights and ${movies.length} movies` +
      ` in one transaction: ${elapsed_ms} ms (engine ${version})`,
  );
}

function insert(db: Connection, target: string, rows: Value[][]): void {
  for (let from = 0; from < rows.length; from += ROWS_PER_INSERT) {
    const values = rows.slice(from, from + ROWS_PER_INSERT).map(literal);
    db.query(`INSERT INTO ${target} VALUES ${values.join(", ")}`);
  }
}

/** Each reading is one transaction of two statements: half of one would show as a count that differs. */
function serveWrites(url: string): void {
  using db = new Connection(url);
  for (let n = Number(db.value("SELECT n FROM reading_count")) + 1; ; n++) {
    db.transaction(() => {
      db.query(sql`INSERT INTO reading VALUES (${n}, ${new Date().toISOString()})`);
      db.query("UPDATE reading_count SET n = n + 1");
    });
    // Written at once: what was printed is what was acknowledged, also when the next instruction never runs.
    writeSync(1, `ack ${n}\n`);
  }
}

const [command, url, argument] = process.argv.slice(2);
if (command === "load" && url && argument) {
  await load(url, argument);
} else if (command === "serve-writes" && url) {
  serveWrites(url);
} else if (command === "report" && url) {
  process.exitCode = report(url, Number(argument ?? 0)) ? 0 : 1;
} else {
  console.error("usage: bun app.ts load <url> <vega-datasets directory> | serve-writes <url> | report <url> [acknowledged]");
  process.exitCode = 2;
}
