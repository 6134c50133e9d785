/** What may be passed for parameters, in both modes, and what each value becomes. */
import { describe, expect, test } from "bun:test";
import { Database, thrown } from "./module.ts";

const NOT_A_VALUE = "TypeError: Binding expected string, TypedArray, boolean, number, bigint or null";

for (const strict of [false, true]) {
  describe(strict ? "strict" : "not strict", () => {
    const db = new Database(":memory:", { strict });
    const row = (sql: string, ...params: any[]) => (db.prepare(sql) as any).values(...params)[0] as any[];
    const two = (...params: any[]) => row("SELECT ?, ?", ...params);

    test("lists: arguments or an array, as many as there are parameters", () => {
      expect(two(1, 2)).toEqual([1, 2]);
      expect(two([1, 2])).toEqual([1, 2]);
      expect(two()).toEqual([null, null]);
      expect(two([])).toEqual([null, null]);
      expect(two(null, null)).toEqual([null, null]);
      expect(two(undefined, 1)).toEqual([null, 1]);
      expect(two([, 1])).toEqual([null, 1]);
      expect(row("SELECT $a", null)).toEqual([null]);
      expect(row("SELECT $a", undefined)).toEqual([null]);
      expect(row("SELECT ?3, ?1", 1, 2, 3)).toEqual([3, 1]);
      expect(row("SELECT ?1, ?1", 1)).toEqual([1, 1]);
      expect(row("SELECT $a, $a", 1)).toEqual([1, 1]);
      expect(row("SELECT ?, $a", 1, 2)).toEqual([1, 2]);
      class Values extends Array {}
      expect(row("SELECT ?", Values.from([4]))).toEqual([4]);
      for (const params of [[1], [[1]], [null], [undefined], [[1], [2]], [[1], 2]]) {
        expect(thrown(() => two(...params))).toBe("Error: SQLite query expected 2 values, received 1");
      }
      expect(thrown(() => two(1, 2, 3))).toBe("Error: SQLite query expected 2 values, received 3");
      expect(thrown(() => two([1, 2, 3]))).toBe("Error: SQLite query expected 2 values, received 3");
      expect(thrown(() => two(1, [2]))).toBe(NOT_A_VALUE);
      expect(thrown(() => row("SELECT ?2", "b"))).toBe("Error: SQLite query expected 2 values, received 1");
    });

    test("a statement without parameters ignores arguments, prepare and run do not", () => {
      for (const params of [[1], [1, 2, 3], [{ a: 1 }], [[]], [[1]], [new Date()]]) {
        expect(row("SELECT 1", ...params)).toEqual([1]);
      }
      expect(thrown(() => db.prepare("SELECT 1", [1] as any))).toBe("Error: SQLite query expected 0 values, received 1");
      expect(thrown(() => db.run("SELECT 1", [5]))).toBe("Error: SQLite query expected 0 values, received 1");
      expect(db.run("SELECT 1", { a: 1 } as any).changes).toBe(0);
    });

    test("names, with and without the prefix", () => {
      expect(row("SELECT $a, $b", { $a: 1, $b: 2 })).toEqual([1, 2]);
      expect(row("SELECT $a, $b", { a: 1, b: 2 })).toEqual([1, 2]);
      expect(row("SELECT $a, $b", { a: 1, b: 2, c: 3 })).toEqual([1, 2]);
      expect(row("SELECT :a, @b", { a: 1, b: 2 })).toEqual([1, 2]);
      expect(row("SELECT :a, @b", { ":a": 1, "@b": 2 })).toEqual([1, 2]);
      expect(row("SELECT :a, $a, @a", { a: 1 })).toEqual([1, 1, 1]);
      expect(row("SELECT :a, $a", { ":a": 1, $a: 2 })).toEqual([1, 2]);
      expect(row("SELECT $a", { a: 1, $a: 2 })).toEqual([strict ? 1 : 2]);
      expect(row("SELECT $a::b(c)", { "a::b(c)": 4 })).toEqual([4]);
      expect(row("SELECT $é", { é: 1 })).toEqual([1]);
      expect(row("SELECT $length", { length: 4 })).toEqual([4]);
      expect(row("SELECT $0, :1", { 0: "k", 1: "l" })).toEqual(["k", "l"]);
      expect(row("SELECT $a", { a: undefined })).toEqual([null]);
      expect(row("SELECT $a, $b", 1, 2)).toEqual([1, 2]);
    });

    test("nameless and numbered parameters by their place, from 0", () => {
      expect(row("SELECT ?, ?", { 0: 1, 1: 2 })).toEqual([1, 2]);
      expect(row("SELECT ?, ?", { length: 2, 0: 1, 1: 2 })).toEqual([1, 2]);
      expect(row("SELECT ?, $a", { 0: "z", a: 2 })).toEqual(["z", 2]);
      expect(row("SELECT ?, ?2, $c", { 0: "q", 1: "r", c: "s" })).toEqual(["q", "r", "s"]);
      expect(row("SELECT ?1", { "?1": "x" })).toEqual(["x"]);
      expect(row("SELECT ?1", { 0: "x" })).toEqual(["x"]);
      expect(row("SELECT ?1", { "?1": "n", 0: "i" })).toEqual([strict ? "i" : "n"]);
    });

    test("what is missing", () => {
      const missing = (sql: string, params: object, name: string, loose: unknown[]) => {
        if (strict) expect(thrown(() => row(sql, params))).toBe(`Error: Missing parameter "${name}"`);
        else expect(row(sql, params)).toEqual(loose);
      };
      missing("SELECT $a", {}, "a", [null]);
      missing("SELECT $a, $b", { a: 1 }, "b", [1, null]);
      missing("SELECT :a, @b", { $a: 1, $b: 2 }, "a", [null, null]);
      missing("SELECT ?", { a: 1 }, "?1", [null]);
      missing("SELECT ?1", { 1: "x" }, "?1", [null]);
      missing("SELECT ?, $a", { a: 2 }, "?1", [null, 2]);
      missing("SELECT $toString", {}, "toString", [null]);
      missing("SELECT $__proto__", {}, "__proto__", [null]);
      missing("SELECT $a", Object.create({ a: 1 }), "a", [null]);
    });

    test("objects of classes, without a prototype, frozen, proxies", () => {
      class Plain { a = 5; }
      class Private { a = 3; #hidden = 4; get hidden() { return this.#hidden; } }
      expect(row("SELECT $a", new Plain())).toEqual([5]);
      expect(row("SELECT $a", new Private())).toEqual([3]);
      expect(row("SELECT $a", Object.assign(Object.create(null), { a: 1 }))).toEqual([1]);
      expect(row("SELECT $a", Object.freeze({ a: 2 }))).toEqual([2]);
      expect(row("SELECT $a", new Proxy({ a: 9 }, {}))).toEqual([9]);
      expect(row("SELECT $a", { get a() { return 6; } })).toEqual([6]);
      expect(thrown(() => row("SELECT $a", { get a() { throw new RangeError("boo"); } }))).toBe("RangeError: boo");
    });

    test("what is no value", () => {
      const values = {
        date: new Date(0), symbol: Symbol("s"), function: () => 1, map: new Map([["a", 1]]), set: new Set([1]),
        regexp: /x/, error: new Error("e"), promise: Promise.resolve(1), string: new String("q"), number: new Number(4),
        url: new URL("http://a"), headers: new Headers(), blob: new Blob(["x"]), generator: (function* () {})(),
        response: new Response("x"),
      };
      for (const [name, value] of Object.entries(values)) {
        expect([name, thrown(() => row("SELECT ?", value))]).toEqual([name, NOT_A_VALUE]);
        expect([name, thrown(() => row("SELECT ?", [value]))]).toEqual([name, NOT_A_VALUE]);
        expect([name, thrown(() => row("SELECT $v", { v: value }))]).toEqual([name, NOT_A_VALUE]);
      }
      expect(thrown(() => row("SELECT ?", [{ x: 1 }]))).toBe(NOT_A_VALUE);
      expect(thrown(() => row("SELECT $v", { v: { x: 1 } }))).toBe(NOT_A_VALUE);
      expect(thrown(() => row("SELECT $v", { v: [1] }))).toBe(NOT_A_VALUE);
    });

    test("values keep their kind", () => {
      const kinds: [unknown, string, unknown][] = [
        [1, "integer", 1], [-0, "real", -0], [1.5, "real", 1.5], [2 ** 53 - 1, "integer", 2 ** 53 - 1],
        [2 ** 53, "real", 2 ** 53], [-(2 ** 53 - 1), "integer", -(2 ** 53 - 1)], [1e300, "real", 1e300], [NaN, "null", null],
        [Infinity, "real", Infinity], [-Infinity, "real", -Infinity], [5e-324, "real", 5e-324], ["s", "text", "s"],
        ["😀é", "text", "😀é"], ["a\0b", "text", "a\0b"], ["a\ud800b", "text", "a\ufffdb"], ["", "text", ""],
        ["x".repeat(300_000), "text", "x".repeat(300_000)], ["é".repeat(100_000), "text", "é".repeat(100_000)],
        [true, "integer", 1], [false, "integer", 0], [null, "null", null], [5n, "integer", 5],
        [2n ** 63n - 1n, "integer", 2 ** 63], [-(2n ** 63n), "integer", -(2 ** 63)], [2n ** 64n + 5n, "integer", 5],
        [2n ** 63n, "integer", -(2 ** 63)], [-(2n ** 63n) - 1n, "integer", 2 ** 63],
        [new Uint8Array([1, 2]), "blob", new Uint8Array([1, 2])], [Buffer.from("hi"), "blob", new Uint8Array([104, 105])],
        [new ArrayBuffer(3), "blob", new Uint8Array(3)], [new SharedArrayBuffer(2), "blob", new Uint8Array(2)],
        [new Float64Array([1]), "blob", new Uint8Array([0, 0, 0, 0, 0, 0, 240, 63])],
        [new DataView(new ArrayBuffer(4), 1, 2), "blob", new Uint8Array(2)],
        [new Uint8Array([1, 2, 3, 4]).subarray(1, 3), "blob", new Uint8Array([2, 3])],
        [new Uint8Array(0), "blob", new Uint8Array(0)], [new Uint8Array(3_000_000), "blob", new Uint8Array(3_000_000)],
      ];
      for (const [given, type, stored] of kinds) {
        for (const params of [[given], [[given]], [{ "?1": given }]]) {
          const [foundType, found] = row("SELECT typeof(?1), ?1", ...params);
          expect(foundType).toBe(type);
          if (stored instanceof Uint8Array) {
            expect(found).toBeInstanceOf(Uint8Array);
            expect(Buffer.compare(found as Uint8Array, stored)).toBe(0);
          } else {
            expect(Object.is(found, stored)).toBe(true);
          }
        }
      }
    });

    test("a run without arguments uses the last values; what failed is bound as far as it went", () => {
      const named = db.prepare<any, any>("SELECT $a, $b");
      expect(named.values({ $a: 1, $b: 2 })).toEqual([[1, 2]]);
      expect(named.values()).toEqual([[1, 2]]);
      if (strict) expect(thrown(() => named.values({ $a: 3 }))).toBe('Error: Missing parameter "b"');
      else expect(named.values({ $a: 3 })).toEqual([[3, null]]);
      expect(named.values()).toEqual([[3, null]]);
      expect(named.values([])).toEqual([[null, null]]);
      const listed = db.prepare<any, any>("SELECT ?, ?");
      listed.values(1, 2);
      expect(thrown(() => listed.values(5))).toBe("Error: SQLite query expected 2 values, received 1");
      expect(listed.values()).toEqual([[null, null]]);
      expect(thrown(() => listed.values(5, new Date()))).toBe(NOT_A_VALUE);
      expect(listed.values()).toEqual([[5, null]]);
      expect(listed.toString()).toBe("SELECT 5, NULL");
    });

    test("prepare binds", () => {
      expect(db.prepare<any, any>("SELECT ?1, ?2", [1, 2]).values()).toEqual([[1, 2]]);
      expect(db.prepare<any, any>("SELECT $a", { a: 1 }).values()).toEqual([[1]]);
      expect(db.prepare<any, any>("SELECT $a", "x").values()).toEqual([["x"]]);
      expect(db.prepare<any, any>("SELECT ?1", undefined).values()).toEqual([[null]]);
      expect(db.prepare<any, any>("SELECT ?1", null).values()).toEqual([[null]]);
      expect(thrown(() => db.prepare("SELECT ?", new Date() as any))).toBe(NOT_A_VALUE);
      const overridden: any = db.prepare("SELECT ?1", [1]);
      expect([overridden.values(), overridden.values(2), overridden.values()]).toEqual([[[1]], [[2]], [[2]]]);
    });
  });
}

test("safeIntegers checks bigint parameters", () => {
  const db = new Database(":memory:", { safeIntegers: true });
  const row = (value: unknown) => db.prepare<any, any>("SELECT ?").values(value)[0];
  expect(row(5n)).toEqual([5n]);
  expect(row(2n ** 63n - 1n)).toEqual([2n ** 63n - 1n]);
  expect(row(-(2n ** 63n))).toEqual([-(2n ** 63n)]);
  expect(thrown(() => row(2n ** 63n))).toBe("RangeError: BigInt value '9223372036854775808' is out of range");
  expect(thrown(() => row(-(2n ** 63n) - 1n))).toBe("RangeError: BigInt value '-9223372036854775809' is out of range");
});
