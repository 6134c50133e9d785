/**
 * The packages as a new user meets them: tarballs installed into an empty folder, the README's programs as they are printed
 * there, run twice and from a compiled executable. Needs npm's registry for nothing but the question whether the other
 * platforms' packages exist.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directory = mkdtempSync(join(tmpdir(), "twilldb-package-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const source = new URL("..", import.meta.url).pathname;
const library = process.env.TWILLDB_LIBRARY;
const { TWILLDB_LIBRARY: _hidden, ...environment } = process.env;
const app = join(directory, "app");

function run(command: string[], cwd: string): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, { cwd, env: environment, timeout: 60_000 });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}\n${stdout}${stderr}`);
  return stdout.toString();
}

const programs = [...readFileSync(join(source, "README.md"), "utf8").matchAll(/```ts\n([^]*?)```/g)].map(([, text]) => text!);

beforeAll(() => {
  if (!library) throw new Error("TWILLDB_LIBRARY names the library to pack");
  run([process.execPath, join(source, "scripts/pack.ts"), "--library", library, "--out", directory], source);
  mkdirSync(app);
  const tarballs = readdirSync(directory).filter((name) => name.endsWith(".tgz")).map((name) => join(directory, name));
  expect(tarballs.length).toBe(2);
  run([process.execPath, "add", ...tarballs], app);
}, 120_000);

describe("an empty folder, after bun add", () => {
  test("the README's first program works the first time, and again", () => {
    expect(programs.length).toBe(2);
    writeFileSync(join(app, "first.ts"), programs[0]!);
    expect(run([process.execPath, "first.ts"], app)).toBe("1 IT'S DURABLE WHEN THIS RESOLVES\n");
    expect(run([process.execPath, "first.ts"], app)).toBe("1 IT'S DURABLE WHEN THIS RESOLVES\n2 it's durable when this resolves\n");
  });

  test("so does the one that comes from bun:sqlite", () => {
    writeFileSync(join(app, "second.ts"), programs[1]!);
    expect(run([process.execPath, "second.ts"], app)).toContain('name: "Salem"');
  });

  test("nothing was built, and nothing else was installed", () => {
    expect(readdirSync(join(app, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["@twilldb"]);
    const manifest = JSON.parse(readFileSync(join(app, "node_modules/@twilldb/bun/package.json"), "utf8"));
    expect([manifest.scripts, manifest.dependencies]).toEqual([undefined, undefined]);
  });

  test("types are those that are documented", () => {
    const program = `
      import { connect, Database, SQLiteError, type Changes } from "@twilldb/bun";
      const db = new Database(":memory:", { strict: true });
      const one = db.query<{ a: number }, [number]>("SELECT ? AS a").get(1);
      const a: number | undefined = one?.a;
      const changes: Changes = db.run("SELECT 1", [1, "x", null]);
      const add = db.transaction((x: number, y: number) => x + y);
      const sum: number = add.immediate(1, 2);
      // @ts-expect-error: two numbers
      add("x");
      const async = await connect(":memory:");
      const rows: { n: number }[] = await async.sql<{ n: number }>\`SELECT \${1} AS n\`;
      for await (const row of async.iterate<{ n: number }>("SELECT 1 AS n")) row.n.toFixed();
      export { a, changes, sum, rows, SQLiteError };`;
    writeFileSync(join(app, "types.ts"), program);
    const options = { compilerOptions: { target: "esnext", module: "preserve", moduleResolution: "bundler", lib: ["esnext"], types: ["bun"], typeRoots: [join(source, "node_modules/@types")], strict: true, noEmit: true, skipLibCheck: false }, files: ["types.ts"] };
    writeFileSync(join(app, "tsconfig.json"), JSON.stringify(options));
    expect(run([join(source, "node_modules/.bin/tsc"), "-p", "."], app)).toBe("");
  });

  test("bun build --compile makes one executable that needs nothing beside it", () => {
    const alone = join(directory, "alone");
    mkdirSync(alone);
    writeFileSync(join(app, "compiled.ts"), programs[0]!);
    run([process.execPath, "build", "--compile", "compiled.ts", "--outfile", join(alone, "program")], app);
    expect(run([join(alone, "program")], alone)).toBe("1 IT'S DURABLE WHEN THIS RESOLVES\n");
  }, 60_000);
});

test("without the platform's package the error names it and the way out", () => {
  const lonely = join(directory, "lonely");
  mkdirSync(join(lonely, "node_modules/@twilldb"), { recursive: true });
  run(["cp", "-r", join(app, "node_modules/@twilldb/bun"), join(lonely, "node_modules/@twilldb/bun")], lonely);
  writeFileSync(join(lonely, "app.ts"), 'try { await import("@twilldb/bun") } catch (error) { console.log(error.message) }');
  const said = run([process.execPath, "app.ts"], lonely);
  expect(said).toContain("is not installed");
  expect(said).toContain("TWILLDB_LIBRARY");
});
