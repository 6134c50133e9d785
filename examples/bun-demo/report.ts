/** Real queries over the loaded data, and the check that every acknowledged write is there. */
import { Connection, sql } from "./twill.ts";

interface Question {
  title: string;
  sql: string;
}

const QUESTIONS: Question[] = [
  {
    title: "Busiest routes, by the airports' names (two joins)",
    sql: `
      SELECT f.origin || ' -> ' || f.destination AS route, o.city AS "from", d.city AS "to",
             count(*) AS flights, round(avg(f.delay_minutes), 1) AS delay_min, max(f.distance_miles) AS miles
        FROM flight f JOIN airport o ON o.iata = f.origin JOIN airport d ON d.iata = f.destination
       GROUP BY f.origin, f.destination ORDER BY flights DESC, route LIMIT 5`,
  },
  {
    title: "The worst delay of each of the busiest states (window functions)",
    sql: `
      WITH ranked AS (
        SELECT o.state, f.departed_at, f.origin, f.delay_minutes,
               count(*) OVER (PARTITION BY o.state) AS flights,
               row_number() OVER (PARTITION BY o.state ORDER BY f.delay_minutes DESC, f.id) AS place,
               avg(f.delay_minutes) OVER (PARTITION BY o.state) AS average
          FROM flight f JOIN airport o ON o.iata = f.origin)
      SELECT state, flights, round(average, 1) AS delay_min, origin, departed_at, delay_minutes AS worst_min
        FROM ranked WHERE place = 1 ORDER BY flights DESC LIMIT 5`,
  },
  {
    title: "Seven-day moving average of delays from O'Hare (window frame)",
    sql: `
      WITH daily AS (
        SELECT date(departed_at) AS day, count(*) AS flights, avg(delay_minutes) AS delay
          FROM flight WHERE origin = 'ORD' GROUP BY day)
      SELECT day, flights, round(delay, 1) AS delay_min,
             round(avg(delay) OVER (ORDER BY day ROWS 6 PRECEDING), 1) AS week_min
        FROM daily ORDER BY day DESC LIMIT 5`,
  },
  {
    title: "Films with lovers or wars in the title (FTS5, with stemming)",
    sql: `
      SELECT highlight(movie_text, 0, '[', ']') AS title, released_on, genre, rating
        FROM movie_text JOIN movie ON movie.id = movie_text.rowid
       WHERE movie_text MATCH 'lovers OR wars' ORDER BY rating DESC NULLS LAST, title LIMIT 6`,
  },
  {
    title: "What pays, by genre (JSON extraction)",
    sql: `
      SELECT genre, count(*) AS films, round(avg(rating), 2) AS rating,
             round(sum(record ->> 'Worldwide Gross') / 1e9, 2) AS gross_bn,
             round(sum(record ->> 'Worldwide Gross') * 1.0 / sum(record ->> 'Production Budget'), 2) AS times_budget
        FROM movie
       WHERE genre IS NOT NULL AND record ->> 'Worldwide Gross' > 0 AND record ->> 'Production Budget' > 0
       GROUP BY genre HAVING films >= 50 ORDER BY times_budget DESC LIMIT 5`,
  },
  {
    title: "The oldest films (two-digit years mended; titles that were numbers)",
    sql: `
      SELECT title, released_on, json_type(record, '$.Title') AS delivered_as, record ->> 'Director' AS director
        FROM movie WHERE released_on IS NOT NULL ORDER BY released_on, title LIMIT 5`,
  },
];

/** Prints the report. False when something acknowledged is missing or anything is inconsistent. */
export function report(url: string, acknowledged: number): boolean {
  using db = new Connection(url);
  for (const question of QUESTIONS) {
    const rows = db.all(question.sql);
    console.log(`\n${question.title}`);
    console.table(rows);
    if (rows.length === 0) {
      console.error("no rows: was the data loaded?");
      return false;
    }
  }
  return checkReadings(db, acknowledged);
}

function checkReadings(db: Connection, acknowledged: number): boolean {
  const present = db.value(sql`SELECT count(*) FROM reading WHERE n BETWEEN 1 AND ${acknowledged}`);
  const readings = db.value("SELECT count(*) FROM reading");
  const counted = db.value("SELECT n FROM reading_count");
  const integrity = db.value("PRAGMA integrity_check");
  const foreign = db.query("PRAGMA foreign_key_check").rows.length;

  console.log("\nAcknowledged writes");
  console.table([{ acknowledged, present, readings, counted, integrity, foreign_key_violations: foreign }]);
  if (present !== acknowledged) console.error(`LOST: ${acknowledged - Number(present)} acknowledged writes are missing`);
  if (readings !== counted) console.error("TORN: a transaction was applied in part");
  const sound = present === acknowledged && readings === counted && integrity === "ok" && foreign === 0;
  const where = db.all<{ name: string; file: string }>("PRAGMA database_list").find((row) => row.name === "main");
  if (where?.file) console.log(`The data is in ${where.file} (${Bun.file(where.file).size} bytes).`);
  if (sound && acknowledged > 0) console.log(`All ${acknowledged} acknowledged writes are there.`);
  return sound;
}
