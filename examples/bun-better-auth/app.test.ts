import { expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cookieOf, openAuth } from "./app.ts";

test("migrate, sign up, sign in, sessions, sign out, and all of it again after reopening", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "twilldb-auth-")), "auth.db");
  const account = { email: "ada@example.com", password: "correct horse battery" };
  const first = await openAuth(path);
  expect(first.created.toSorted()).toEqual(["account", "session", "user", "verification"]);
  await first.auth.api.signUpEmail({ body: { name: "Ada", ...account } });
  await expect(first.auth.api.signUpEmail({ body: { name: "Again", ...account } })).rejects.toThrow();
  await expect(first.auth.api.signInEmail({ body: { ...account, password: "wrong password" } })).rejects.toThrow();
  const headers = cookieOf(await first.auth.api.signInEmail({ body: account, asResponse: true }));
  expect((await first.auth.api.getSession({ headers }))?.user.email).toBe(account.email);
  first.database.close(true);

  const second = await openAuth(path);
  expect(second.created).toEqual([]);
  expect((await second.auth.api.getSession({ headers }))?.user.name).toBe("Ada");
  expect((await second.auth.api.listSessions({ headers })).length).toBe(2);
  await second.auth.api.signOut({ headers });
  expect(await second.auth.api.getSession({ headers })).toBe(null);
  expect(second.database.query("SELECT email, emailVerified FROM user").all()).toEqual([{ email: account.email, emailVerified: 0 }]);
  second.database.close(true);
}, 30_000);
