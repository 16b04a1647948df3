// npm run build: src/index.js and what it imports -> dist/{{name}}.wasm, a component of the world in wit/world.wit.
import { mkdir, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "src/index.js",
  witPath: "wit",
  worldName: "module",
  // Parts of the JavaScript engine that would import more than wit/world.wit says. Take "http" out to use fetch() and "random" for
  // Math.random(). The engine does not start without "clocks"; "stdio" is for console.log, which ends in the module's log.
  disableFeatures: ["http", "random"],
});
await mkdir("dist", { recursive: true });
await writeFile("dist/{{name}}.wasm", component);
