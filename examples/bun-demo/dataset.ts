/**
 * Reads the vega-datasets package (movies, airports, flights) and mends what real data brings: missing values,
 * titles that are numbers, quoted CSV, and years that were read from two digits.
 */
import { join } from "node:path";

export interface Airport {
  iata: string;
  name: string;
  city: string | null;
  state: string | null;
  country: string;
  latitude: number;
  longitude: number;
}

export interface Flight {
  departedAt: string;
  delayMinutes: number;
  distanceMiles: number;
  origin: string;
  destination: string;
}

export interface Movie {
  title: string;
  releasedOn: string | null;
  /** The record as it was delivered. */
  record: object;
}

/** The newest year that the movies were collected in: a later one was read from two digits. */
const MOVIES_YEAR_MAX = 2011;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The data directory of a vega-datasets package, given itself or the package's. */
async function file(directory: string, name: string) {
  for (const path of [join(directory, "data", name), join(directory, name)]) {
    if (await Bun.file(path).exists()) return Bun.file(path);
  }
  throw new Error(`${directory} has no ${name}: is it the vega-datasets package?`);
}

export async function readAirports(directory: string): Promise<Airport[]> {
  const [header, ...rows] = parseCsv(await (await file(directory, "airports.csv")).text());
  const at = (name: string) => {
    const column = header?.indexOf(name) ?? -1;
    if (column < 0) throw new Error(`airports.csv has no column ${name}`);
    return column;
  };
  const [iata, name, city, state, country, latitude, longitude] = [
    at("iata"), at("name"), at("city"), at("state"), at("country"), at("latitude"), at("longitude"),
  ] as [number, number, number, number, number, number, number];
  return rows.map((row) => ({
    iata: row[iata]!,
    name: row[name]!.trim(),
    city: missing(row[city]!),
    state: missing(row[state]!),
    country: row[country]!,
    latitude: Number(row[latitude]),
    longitude: Number(row[longitude]),
  }));
}

export async function readFlights(directory: string): Promise<Flight[]> {
  const records = await (await file(directory, "flights-20k.json")).json();
  return records.map((flight: Record<string, string | number>) => ({
    departedAt: `${String(flight.date).replaceAll("/", "-")}:00`,
    delayMinutes: Number(flight.delay),
    distanceMiles: Number(flight.distance),
    origin: String(flight.origin),
    destination: String(flight.destination),
  }));
}

export async function readMovies(directory: string): Promise<Movie[]> {
  const records = await (await file(directory, "movies.json")).json();
  return records
    .filter((record: Record<string, unknown>) => record.Title !== null)
    .map((record: Record<string, unknown>) => ({
      // "1776" and "300" came as numbers.
      title: String(record.Title),
      releasedOn: releaseDate(record["Release Date"]),
      record,
    }));
}

/** "Dec 31 2046" of a film of 1946 becomes 1946-12-31. */
export function releaseDate(text: unknown): string | null {
  const [, month, day, digits] = /^([A-Z][a-z]{2}) (\d{1,2}) (\d{4})$/.exec(String(text)) ?? [];
  const at = MONTHS.indexOf(month ?? "");
  if (at < 0) return null;
  const year = Number(digits) > MOVIES_YEAR_MAX ? Number(digits) - 100 : Number(digits);
  return `${year}-${String(at + 1).padStart(2, "0")}-${day!.padStart(2, "0")}`;
}

function missing(text: string): string | null {
  return text === "" || text === "NA" ? null : text;
}

/** Rows of RFC 4180 text. */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  while (field.lastIndex < text.length) {
    const start = field.lastIndex;
    const found = field.exec(text);
    if (!found) throw new Error(`not CSV at character ${start}`);
    row.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? "");
    if (found[3] !== ",") {
      rows.push(row);
      row = [];
    }
  }
  return rows;
}
