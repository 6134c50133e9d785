/**
 * Packs what is installed: `@twilldb/bun` and the package of one platform with its prebuilt library, as npm tarballs.
 *
 *     bun scripts/pack.ts --library PATH --out DIRECTORY [--platform linux-x64-gnu] [--version 0.1.0]
 *
 * `cargo xtask pack` builds the library and calls this. For another platform give its name and a library that was built
 * for it: linux-x64-gnu, linux-x64-musl, linux-arm64-gnu, linux-arm64-musl, darwin-arm64, darwin-x64. The tarball of
 * @twilldb/bun is the same for all of them. Prints the tarballs' paths, one in a line.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const PLATFORMS: Record<string, { os: string; cpu: string; libc?: string; library: string }> = {
  "linux-x64-gnu": { os: "linux", cpu: "x64", libc: "glibc", library: "libengine.so" },
  "linux-x64-musl": { os: "linux", cpu: "x64", libc: "musl", library: "libengine.so" },
  "linux-arm64-gnu": { os: "linux", cpu: "arm64", libc: "glibc", library: "libengine.so" },
  "linux-arm64-musl": { os: "linux", cpu: "arm64", libc: "musl", library: "libengine.so" },
  "darwin-arm64": { os: "darwin", cpu: "arm64", library: "libengine.dylib" },
  "darwin-x64": { os: "darwin", cpu: "x64", library: "libengine.dylib" },
};

const source = resolve(import.meta.dir, "..");
const own = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
const { values } = parseArgs({
  options: {
    library: { type: "string" },
    out: { type: "string" },
    platform: { type: "string", default: "linux-x64-gnu" },
    version: { type: "string", default: own.version },
    tsc: { type: "string", default: join(source, "node_modules/.bin/tsc") },
  },
});
const { library, out, platform, version, tsc } = values;
const target = PLATFORMS[platform];
if (!library || !out || !target) {
  console.error(`usage: pack.ts --library PATH --out DIRECTORY [--platform ${Object.keys(PLATFORMS).join("|")}]`);
  process.exit(2);
}

const common = { version, license: own.license, type: "module" };
const stage = join(out, "stage");
rmSync(stage, { recursive: true, force: true });
mkdirSync(stage, { recursive: true });

run([tsc, "--project", join(source, "tsconfig.build.json"), "--outDir", join(stage, "bun/dist")], source);
spellTypes(join(stage, "bun/dist"));
writePackage("bun", {
  name: own.name,
  description: own.description,
  ...common,
  exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
  engines: { bun: ">=1.4" },
  optionalDependencies: Object.fromEntries(Object.keys(PLATFORMS).map((name) => [`@twilldb/${name}`, version])),
});
cpSync(join(source, "README.md"), join(stage, "bun/README.md"));

mkdirSync(join(stage, platform));
cpSync(library, join(stage, platform, target.library));
writePackage(platform, {
  name: `@twilldb/${platform}`,
  description: `TwillDB's library for ${platform}. @twilldb/bun installs it where it is needed.`,
  ...common,
  exports: { ".": "./index.js" },
  os: [target.os],
  cpu: [target.cpu],
  ...(target.libc ? { libc: [target.libc] } : {}),
});
writeFileSync(
  join(stage, platform, "index.js"),
  `// As a file, so that \`bun build --compile\` embeds the library.\nimport path from "./${target.library}" with { type: "file" };\nexport default path;\n`,
);

for (const name of ["bun", platform]) {
  for (const licence of ["LICENSE-MIT", "LICENSE-APACHE"]) cpSync(resolve(source, "../..", licence), join(stage, name, licence));
  const said = run(["npm", "pack", "--silent", "--pack-destination", resolve(out)], join(stage, name));
  console.log(join(resolve(out), said.trim().split("\n").at(-1) as string));
}
rmSync(stage, { recursive: true });

function writePackage(name: string, content: object): void {
  writeFileSync(join(stage, name, "package.json"), `${JSON.stringify(content, null, 2)}\n`);
}

/** The compiler keeps `.ts` in the imports of declarations, where only TypeScript sources have it. */
function spellTypes(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) spellTypes(path);
    else if (entry.name.endsWith(".d.ts")) {
      writeFileSync(path, readFileSync(path, "utf8").replace(/(from "\.[^"]*)\.ts"/g, '$1.js"'));
    }
  }
}

function run(command: string[], directory: string): string {
  const done = Bun.spawnSync(command, { cwd: directory, stdout: "pipe", stderr: "pipe" });
  if (done.success) return done.stdout.toString();
  console.error(`${command.join(" ")} failed:\n${done.stdout}${done.stderr}`);
  process.exit(1);
}
