/**
 * The long run of the memory tests: a million queries by either API, and a million statements that nobody finalizes. Prints
 * JSON with the resident memory after each hundred thousand; ends with 1 if it grew by more than 32 MiB after the first.
 *
 *     TWILLDB_LIBRARY=…/libengine.so bun bindings/bun/tests/leak.ts
 *
 * The recorded result is beside it: leak.json.
 */
import { connect, Database } from "../src/index.ts";

const PART = 100_000;
const GROWTH_MAX_MIB = 32;

function resident(): number {
  Bun.gc(true);
  return Math.round(process.memoryUsage().rss / 2 ** 20);
}

async function parts(run: (part: number) => Promise<void> | void): Promise<number[]> {
  const found: number[] = [];
  for (let part = 0; part < 10; part++) {
    await run(part);
    found.push(resident());
  }
  return found;
}

using db = new Database(":memory:");
await using connection = await connect(":memory:");
const result = {
  synchronousQueries: await parts(() => {
    for (let n = 0; n < PART; n++) db.query("SELECT ? AS a, 'some text' AS b").get(n);
  }),
  asynchronousQueries: await parts(async () => {
    for (let n = 0; n < PART; n += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, m) => connection.query("SELECT ? AS a, 'some text' AS b", [n + m])));
    }
  }),
  statementsNeverFinalized: await parts(() => {
    for (let n = 0; n < PART; n++) db.prepare("SELECT ? AS a, 'some text' AS b");
  }),
};
console.log(JSON.stringify({ unit: "MiB resident after each 100,000", ...result }, null, 1));
const grew = Object.values(result).map((sizes) => sizes.at(-1)! - sizes[0]!);
process.exit(grew.every((growth) => growth <= GROWTH_MAX_MIB) ? 0 : 1);
