/**
 * The native library: where it is, and its functions.
 *
 * Invariants:
 * 1. The library is loaded once for each JavaScript thread, at the first use of this module.
 * 2. What speaks another ABI version is refused, by both numbers.
 * 3. Numbers that come back from C and stand for something (handles, requests, addresses) fit a double: `u64_fast`
 *    gives numbers for them.
 *
 * Refuses: a platform without a package, by its name and with the names of those that exist.
 */
import { dlopen, FFIType, type Pointer } from "bun:ffi";
import { existsSync } from "node:fs";

const ABI_VERSION = 1;

const { i32, u32, u64_fast: u64, ptr, void: nothing } = FFIType;
// By its name: dlopen of Bun 1.4 does not take its number.
const buffer = "buffer";

const declarations = {
  engine_abi_version: { args: [], returns: u32 },
  engine_version: { args: [], returns: ptr },
  engine_anchor: { args: [], returns: ptr },
  engine_open_with: { args: [buffer, u64, u32], returns: u64 },
  engine_close: { args: [u64], returns: nothing },
  engine_failure_of: { args: [u64, buffer], returns: i32 },
  engine_status_of: { args: [u64, buffer], returns: i32 },
  engine_in_transaction: { args: [u64], returns: i32 },
  engine_set_busy_timeout: { args: [u64, u32], returns: i32 },
  engine_file_control: { args: [u64, ptr, i32, ptr], returns: i32 },
  engine_load_extension: { args: [u64, ptr], returns: i32 },
  engine_metrics: { args: [u64], returns: ptr },
  engine_url: { args: [u64], returns: ptr },
  engine_prepare: { args: [u64, buffer, u64, buffer], returns: u64 },
  engine_finalize: { args: [u64], returns: i32 },
  engine_statement_property: { args: [u64, i32], returns: i32 },
  engine_sql: { args: [u64, i32], returns: ptr },
  engine_describe: { args: [u64, buffer, u64], returns: i32 },
  engine_bind: { args: [u64, buffer, u64], returns: i32 },
  engine_clear_bindings: { args: [u64], returns: i32 },
  engine_execute: { args: [u64, ptr, u64, buffer, u64, u32, u32], returns: i32 },
  engine_next: { args: [u64, buffer, u64, u32, u32], returns: i32 },
  engine_reset: { args: [u64], returns: i32 },
  engine_batch_free: { args: [ptr, ptr], returns: nothing },
  engine_create_function: { args: [u64, buffer, i32, u32, ptr, ptr, ptr, buffer, u64], returns: i32 },
  engine_create_aggregate: { args: [u64, buffer, i32, u32, ptr, ptr, ptr, ptr, buffer, u64], returns: i32 },
  engine_create_window: { args: [u64, buffer, i32, u32, ptr, ptr, ptr, ptr, ptr, ptr, buffer, u64], returns: i32 },
  engine_call_result: { args: [u64, buffer, u64], returns: i32 },
  engine_call_error: { args: [u64, i32, buffer, u64], returns: i32 },
  engine_set_update_hook: { args: [u64, u32, ptr, ptr, ptr], returns: i32 },
  engine_serialize: { args: [u64, ptr, buffer], returns: ptr },
  engine_deserialize: { args: [buffer, u64, u32], returns: u64 },
  engine_statement_drop: { args: [ptr, ptr], returns: nothing },
  engine_connection_drop: { args: [ptr, ptr], returns: nothing },
  engine_mailbox_drop: { args: [ptr, ptr], returns: nothing },
  engine_mailbox_new: { args: [buffer], returns: u64 },
  engine_mailbox_take: { args: [u64, buffer, u64], returns: i32 },
  engine_async_open_mailbox: { args: [buffer, u64, u32, u64], returns: u64 },
  engine_async_query: { args: [u64, buffer, u64, ptr, u64, u64, u32, u32, u64], returns: u64 },
  engine_async_next: { args: [u64, u64, u32, u32, u64], returns: u64 },
  engine_async_script: { args: [u64, buffer, u64, u64], returns: u64 },
  engine_async_close: { args: [u64], returns: u64 },
  engine_async_cancel: { args: [u64, u64], returns: i32 },
  engine_async_take: { args: [u64, u64, buffer, u64], returns: i32 },
} as const;

function load() {
  const path = libraryPath();
  const library = dlopen(path, declarations);
  const found = library.symbols.engine_abi_version();
  if (found !== ABI_VERSION) {
    throw new Error(`${path} speaks version ${found} of TwillDB's ABI, @twilldb/bun speaks ${ABI_VERSION}`);
  }
  return library.symbols;
}

/** Whether this Bun runs on musl instead of the GNU C library. */
function isMusl(): boolean {
  return existsSync(process.arch === "arm64" ? "/lib/ld-musl-aarch64.so.1" : "/lib/ld-musl-x86_64.so.1");
}

/**
 * The library's path: the environment's TWILLDB_LIBRARY, or what the platform's package says. The packages are named
 * in full at each `require`, so that `bun build --compile` finds the one that is installed and embeds its library.
 */
function libraryPath(): string {
  const given = process.env.TWILLDB_LIBRARY;
  if (given) return given;
  const platform = `${process.platform}-${process.arch}`;
  let reason: unknown;
  try {
    if (process.platform === "linux" && process.arch === "x64") {
      return isMusl() ? require("@twilldb/linux-x64-musl").default : require("@twilldb/linux-x64-gnu").default;
    }
    if (process.platform === "linux" && process.arch === "arm64") {
      return isMusl() ? require("@twilldb/linux-arm64-musl").default : require("@twilldb/linux-arm64-gnu").default;
    }
    if (process.platform === "darwin" && process.arch === "arm64") return require("@twilldb/darwin-arm64").default;
    if (process.platform === "darwin" && process.arch === "x64") return require("@twilldb/darwin-x64").default;
  } catch (error) {
    reason = error;
  }
  const message =
    reason === undefined
      ? `TwillDB has no prebuilt library for ${platform}; there is one for linux-x64, linux-arm64, darwin-arm64 and ` +
        "darwin-x64. TWILLDB_LIBRARY may name one that you built"
      : `the package with TwillDB's library for ${platform} is not installed: it is an optional dependency of ` +
        "@twilldb/bun, so install without --no-optional (--omit=optional), or name a library in TWILLDB_LIBRARY";
  throw new Error(message, { cause: reason });
}

/** The library's functions. */
export const engine = load();

/** The address of one of the library's functions, for C to call. */
export function addressOf(name: "engine_statement_drop" | "engine_connection_drop" | "engine_mailbox_drop"): Pointer {
  return (engine[name] as unknown as { ptr: Pointer }).ptr;
}
