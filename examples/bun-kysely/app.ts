/** Kysely over TwillDB, by the dialect of kysely-bun-sqlite. */
import { Database } from "@twilldb/bun";
import { type Generated, Kysely, Migrator } from "kysely";
import { BunSqliteDialect } from "kysely-bun-sqlite";

export interface Schema {
  task: { id: Generated<number>; title: string; done: number; score: number | null };
}

/** Opens the database, and brings its schema up to date. */
export async function openTasks(path: string) {
  const db = new Kysely<Schema>({ dialect: new BunSqliteDialect({ database: new Database(path) as any }) });
  const migrator = new Migrator({
    db,
    provider: {
      getMigrations: async () => ({
        "2026-01-task": {
          up: (schema) =>
            schema.schema.createTable("task")
              .addColumn("id", "integer", (column) => column.primaryKey().autoIncrement())
              .addColumn("title", "text", (column) => column.notNull().unique())
              .addColumn("done", "integer", (column) => column.notNull().defaultTo(0))
              .addColumn("score", "real")
              .execute(),
        },
      }),
    },
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error) throw error;
  return { db, migrated: (results ?? []).map(({ migrationName }) => migrationName) };
}

if (import.meta.main) {
  const { db } = await openTasks(process.argv[2] ?? "tasks.db");
  await db.insertInto("task").values({ title: `task ${Date.now()}`, done: 0, score: 1.5 }).execute();
  console.log(await db.selectFrom("task").selectAll().orderBy("id").execute());
  await db.destroy();
}
