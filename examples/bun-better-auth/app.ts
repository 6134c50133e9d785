/** better-auth over TwillDB: its tables, a sign-up, sign-ins and sessions, in one process without a server. */
import { Database } from "@twilldb/bun";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";

/** Opens the database, and makes or brings up to date better-auth's tables in it. */
export async function openAuth(path: string) {
  const database = new Database(path);
  const options = {
    database: database as any,
    baseURL: "http://localhost:3000",
    secret: "only-for-this-example-0123456789abcdef",
    emailAndPassword: { enabled: true },
    telemetry: { enabled: false },
    logger: { disabled: true },
  };
  const { runMigrations, toBeCreated } = await getMigrations(options);
  const created = toBeCreated.map(({ table }) => table);
  await runMigrations();
  return { auth: betterAuth(options), database, created };
}

/** The session cookie of a response, as a browser sends it back. */
export function cookieOf(response: Response): Headers {
  const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
  return new Headers({ cookie: cookies.join("; ") });
}

if (import.meta.main) {
  const { auth, database, created } = await openAuth(process.argv[2] ?? "auth.db");
  console.log("tables made:", created.join(", ") || "none");
  const email = `${crypto.randomUUID()}@example.com`;
  await auth.api.signUpEmail({ body: { name: "Ada", email, password: "correct horse battery" } });
  const signedIn = await auth.api.signInEmail({ body: { email, password: "correct horse battery" }, asResponse: true });
  const session = await auth.api.getSession({ headers: cookieOf(signedIn) });
  console.log("signed in:", session?.user.name, session?.user.email);
  console.log("users:", database.query("SELECT count(*) AS n FROM user").get());
  database.close(true);
}
