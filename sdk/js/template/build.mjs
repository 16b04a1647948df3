// npm run build: src/index.js and what it imports -> dist/{{name}}.wasm, a component of the world in wit/world.wit.
import { mkdir, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "src/index.js",
  witPath: "wit",
  worldName: "module",
  // Parts of the JavaScript engine that would import more than wit/world.wit says. Take "http" out to use fetch(), "clocks" for
  // timers and the time, "random" for Math.random(); "stdio" goes nowhere: use brink:platform/log.
  disableFeatures: ["clocks", "http", "random", "stdio"],
});
await mkdir("dist", { recursive: true });
await writeFile("dist/{{name}}.wasm", component);
