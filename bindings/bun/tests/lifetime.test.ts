/** What goes when: processes that end by themselves, Workers that die, things that nobody finalizes. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, Database } from "../src/index.ts";

const directory = mkdtempSync(join(tmpdir(), "twilldb-lifetime-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const module = new URL("../src/index.ts", import.meta.url).pathname;
let files = 0;
const freshPath = () => join(directory, `${++files}.db`);

function program(text: string): { said: string; code: number | null } {
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, "-e", `import { connect, Database } from ${JSON.stringify(module)};\n${text}`], {
    env: process.env, timeout: 20_000,
  });
  return { said: (stdout.toString() + stderr.toString()).trim(), code: exitCode };
}

describe("a process", () => {
  test("ends by itself with connections open, and not before its queries are done", () => {
    expect(program(`const db = await connect(":memory:"); new Database(":memory:").query("SELECT 1"); console.log("end");`)).toEqual({ said: "end", code: 0 });
    expect(program(`const db = await connect(":memory:");
      db.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT count(*) n FROM n").then(([row]) => console.log(row.n));`))
      .toEqual({ said: "1000000", code: 0 });
    expect(program(`const db = await connect(":memory:"); db.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"); await Bun.sleep(5); process.exit(3);`).code).toBe(3);
  });
});

describe("a Worker", () => {
  const ends: Record<string, string> = {
    terminate: "", exit: "process.exit(0)", throw: "throw new Error('gone')", spin: "for (;;);",
  };
  const kinds: Record<string, string> = {
    sync: `const db = new Database(path); db.run("BEGIN IMMEDIATE"); db.run("INSERT INTO t VALUES ('lost')");`,
    async: `const db = await connect(path); await db.query("BEGIN IMMEDIATE"); await db.run("INSERT INTO t VALUES ('lost')");`,
    "async in flight": `const db = await connect(path); await db.query("BEGIN IMMEDIATE"); await db.run("INSERT INTO t VALUES ('lost')");
      db.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"); await Bun.sleep(5);`,
  };
  for (const [kind, begin] of Object.entries(kinds)) {
    for (const [end, how] of Object.entries(ends)) {
      test(`that ends by ${end} in the middle of a transaction (${kind}) leaves no lock`, async () => {
        const path = freshPath();
        const db = await connect(path);
        await db.exec("CREATE TABLE t(a)");
        const text = `import { connect, Database } from ${JSON.stringify(module)};
          self.onmessage = async ({ data: path }) => { ${begin} globalThis.kept = db; postMessage("inside"); ${how ? `setTimeout(() => { ${how} }, 5);` : ""} };
          setInterval(() => {}, 1000);`;
        const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        worker.onerror = (event) => event.preventDefault?.();
        const inside = new Promise((resolve) => (worker.onmessage = resolve));
        worker.postMessage(path);
        await inside;
        await Bun.sleep(end === "terminate" ? 0 : 30);
        worker.terminate();
        // Waits for the writer slot, which the dead transaction held.
        expect((await db.run("INSERT INTO t VALUES ('kept')")).changes).toBe(1);
        expect(await db.values("SELECT a FROM t")).toEqual([["kept"]]);
        await db.close();
      }, 20_000);
    }
  }

  test("shares a database by its URL", async () => {
    const path = freshPath();
    await using db = await connect(path);
    await db.exec("CREATE TABLE t(a)");
    const text = `import { connect } from ${JSON.stringify(module)};
      self.onmessage = async ({ data: url }) => { const db = await connect(url); for (let n = 0; n < 50; n++) await db.run("INSERT INTO t VALUES (?)", [n]); await db.close(); postMessage("done"); };`;
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const workers = Array.from({ length: 3 }, () => new Worker(url));
    const done = workers.map((worker) => new Promise((resolve) => { worker.onmessage = resolve; worker.postMessage(db.url); }));
    for (let n = 0; n < 50; n++) await db.run("INSERT INTO t VALUES (?)", [n]);
    await Promise.all(done);
    for (const worker of workers) worker.terminate();
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[200]]);
  }, 20_000);
});

describe("memory", () => {
  const rss = () => { Bun.gc(true); return process.memoryUsage().rss / 2 ** 20; };

  test("statements that nobody finalizes go, also in a loop that never yields", () => {
    using db = new Database(":memory:");
    db.run("CREATE TABLE t(a, b, c)");
    const use = (count: number) => { for (let n = 0; n < count; n++) db.prepare("SELECT a, b FROM t WHERE c = ?").get(n); };
    use(20_000);
    const before = rss();
    use(60_000);
    expect(rss() - before).toBeLessThan(40);
  }, 30_000);

  test("an abandoned cursor in the middle of a JavaScript window function is let go without calling it from the collector", () => {
    using db = new Database(":memory:");
    db.run("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let results = 0;
    db.aggregate("win", { start: 0, step: (a, v) => a + v, inverse: (a, v) => a - v, result: (a) => { results++; return a; } });
    const abandon = () => { db.prepare("SELECT win(a) OVER (ROWS 1 PRECEDING) AS w FROM t").iterate().next(); };
    for (let n = 0; n < 2000; n++) abandon();
    Bun.gc(true);
    expect(db.query("SELECT win(a) AS w FROM t").get()).toEqual({ w: 6 });
    expect(results).toBeGreaterThan(2000);
    db.run("DROP TABLE t");
  });

  test("databases that nobody closes go", async () => {
    const path = freshPath();
    const use = (count: number) => { for (let n = 0; n < count; n++) new Database(path).query("SELECT 1").get(); };
    use(300);
    await Bun.sleep(50);
    const before = rss();
    for (let round = 0; round < 5; round++) { use(300); Bun.gc(true); await Bun.sleep(20); }
    expect(rss() - before).toBeLessThan(60);
  }, 30_000);

  test("queries hold nothing back", async () => {
    await using db = await connect(":memory:");
    using sync = new Database(":memory:");
    const wave = async () => {
      for (let n = 0; n < 100; n++) await Promise.all(Array.from({ length: 100 }, (_, m) => db.query("SELECT ? AS a, 'some text' AS b", [m])));
      for (let n = 0; n < 20_000; n++) sync.query("SELECT ? AS a, 'some text' AS b").get(n);
    };
    await wave();
    const before = rss();
    for (let round = 0; round < 3; round++) await wave();
    expect(rss() - before).toBeLessThan(40);
  }, 30_000);
});
