import { expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { author, book, openLibrary } from "./app.ts";

test("migrations, relations, transactions, and all of it again after reopening", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "twilldb-drizzle-")), "library.db");
  const first = openLibrary(path);
  const { db } = first;
  const published = new Date("1843-09-01T00:00:00Z");
  db.transaction((tx) => {
    const { id } = tx.insert(author).values({ name: "Ada" }).returning().get();
    tx.insert(book).values([{ title: "Notes", authorId: id, published, tags: ["engine", "é"] }, { title: "Letters", authorId: id }]).run();
    expect(() => tx.transaction((inner) => {
      inner.insert(book).values({ title: "Lost", authorId: id }).run();
      throw new Error("inner");
    })).toThrow("inner");
  });
  expect(() => db.transaction((tx) => { tx.delete(book).run(); tx.rollback(); })).toThrow();
  expect(() => db.insert(author).values({ name: "Ada" }).run()).toThrow();
  expect(() => db.insert(book).values({ title: "Nobody's", authorId: 99 }).run()).toThrow();

  const wanted = [{ id: 1, name: "Ada", books: [
    { id: 1, title: "Notes", authorId: 1, published, tags: ["engine", "é"] }, { id: 2, title: "Letters", authorId: 1, published: null, tags: null },
  ] }];
  expect(await db.query.author.findMany({ with: { books: true } })).toEqual(wanted);
  expect(db.query.book.findFirst({ with: { author: true }, where: eq(book.title, "Letters") }).sync()?.author.name).toBe("Ada");
  expect(db.select({ n: sql<number>`count(*)` }).from(book).get()).toEqual({ n: 2 });
  const prepared = db.select().from(author).where(eq(author.name, sql.placeholder("name"))).prepare();
  expect([prepared.all({ name: "Ada" }).length, prepared.get({ name: "Bob" }), prepared.values({ name: "Ada" })]).toEqual([1, undefined, [[1, "Ada"]]]);
  first.client.close(true);

  const second = openLibrary(path);
  expect(await second.db.query.author.findMany({ with: { books: true } })).toEqual(wanted);
  second.db.delete(author).where(eq(author.id, 1)).run();
  expect(second.db.select().from(book).all()).toEqual([]);
  second.client.close(true);
});
