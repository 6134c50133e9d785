/** What the guides say of differences is what the suite knows. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { differences } from "./sqlite/differences.ts";

test("the differences that are documented are those that the suite knows by name", () => {
  const page = readFileSync(new URL("../../../docs/guides/bun-differences.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$/gm)].map(([, name, here]) => [name!.trim(), here!.trim()]);
  expect(Object.fromEntries(rows.slice(1))).toEqual(differences);
});
