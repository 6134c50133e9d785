import { expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { openTasks } from "./app.ts";

test("migrations, queries, transactions, streaming, introspection, and all of it again after reopening", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "twilldb-kysely-")), "tasks.db");
  const { db, migrated } = await openTasks(path);
  expect(migrated).toEqual(["2026-01-task"]);
  const { insertId } = await db.insertInto("task").values({ title: "one", done: 0, score: 1.5 }).executeTakeFirstOrThrow();
  expect(insertId).toBe(1n);
  expect(await db.insertInto("task").values({ title: "two", done: 1, score: null }).returning(["id", "title"]).execute()).toEqual([{ id: 2, title: "two" }]);
  await expect(db.insertInto("task").values({ title: "one", done: 0 }).execute()).rejects.toThrow("UNIQUE constraint failed: task.title");
  await expect(db.transaction().execute(async (trx) => {
    await trx.deleteFrom("task").execute();
    throw new Error("no");
  })).rejects.toThrow("no");
  await db.transaction().execute((trx) => trx.updateTable("task").set({ done: 1 }).where("title", "=", "one").execute());
  const wanted = [{ id: 1, title: "one", done: 1, score: 1.5 }, { id: 2, title: "two", done: 1, score: null }];
  expect(await db.selectFrom("task").selectAll().orderBy("id").execute()).toEqual(wanted);
  expect((await sql<{ n: number }>`SELECT count(*) AS n FROM ${sql.table("task")} WHERE id IN (${sql.join([1, 2, 3])})`.execute(db)).rows).toEqual([{ n: 2 }]);
  expect((await db.introspection.getTables()).find(({ name }) => name === "task")?.columns.map(({ name }) => name)).toEqual(["id", "title", "done", "score"]);
  await db.destroy();
  const again = await openTasks(path);
  expect(again.migrated).toEqual([]);
  expect(await again.db.selectFrom("task").selectAll().orderBy("id").execute()).toEqual(wanted);
  await again.db.destroy();
});
