/** drizzle-orm/bun-sqlite over TwillDB: migrations, relations, transactions. */
import { Database } from "@twilldb/bun";
import { eq, relations } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const author = sqliteTable("author", {
  id: integer().primaryKey({ autoIncrement: true }),
  name: text().notNull().unique(),
});

export const book = sqliteTable("book", {
  id: integer().primaryKey({ autoIncrement: true }),
  title: text().notNull(),
  authorId: integer("author_id").notNull().references(() => author.id, { onDelete: "cascade" }),
  published: integer({ mode: "timestamp" }),
  tags: text({ mode: "json" }).$type<string[]>(),
});

export const authorRelations = relations(author, ({ many }) => ({ books: many(book) }));
export const bookRelations = relations(book, ({ one }) => ({ author: one(author, { fields: [book.authorId], references: [author.id] }) }));

/** Opens the database, and brings its schema up to date. */
export function openLibrary(path: string) {
  const client = new Database(path);
  client.run("PRAGMA foreign_keys = ON");
  const db = drizzle({ client: client as any, schema: { author, book, authorRelations, bookRelations } });
  migrate(db, { migrationsFolder: new URL("./migrations", import.meta.url).pathname });
  return { client, db };
}

if (import.meta.main) {
  const { client, db } = openLibrary(process.argv[2] ?? "library.db");
  db.transaction((tx) => {
    const [ada] = tx.insert(author).values({ name: `Ada ${Date.now()}` }).returning().all();
    tx.insert(book).values({ title: "Notes", authorId: ada!.id, published: new Date("1843-09-01"), tags: ["engine"] }).run();
  });
  console.dir(await db.query.author.findMany({ with: { books: true } }), { depth: 4 });
  console.log(db.select({ title: book.title, by: author.name }).from(book).innerJoin(author, eq(book.authorId, author.id)).all());
  client.close(true);
}
