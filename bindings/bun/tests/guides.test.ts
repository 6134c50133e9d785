/** What the guides say of differences is what the suite knows. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { differences } from "./sqlite/differences.ts";

test("the differences that are documented are those that the suite knows by name", () => {
  const page = readFileSync(new URL("../../../docs/guides/bun-differences.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$/gm)].map(([, name, here]) => [name!.trim(), here!.trim()]);
  expect(Object.fromEntries(rows.slice(1))).toEqual(differences);
});

test("the project's README shows the program that the package's README shows, which another test runs", () => {
  const program = (path: string) => /```ts\n(import \{ connect[^]*?)```/.exec(readFileSync(new URL(path, import.meta.url), "utf8"))?.[1];
  expect(program("../README.md")?.split("\n").length).toBe(10);
  expect(program("../../../README.md")).toBe(program("../README.md"));
});
