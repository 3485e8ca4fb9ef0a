// wasm.mjs: bits() in a WebAssembly module: node tests/embed/wasm.mjs MODULE.wasm
import { readFileSync, writeSync } from "node:fs";

let memory;
function put(text) {
  const bytes = new Uint8Array(memory.buffer);
  let end = text;
  while (bytes[end]) end++;
  writeSync(1, bytes.subarray(text, end));
}
const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = WebAssembly.Module.imports(module).map(i => `${i.module}.${i.name}`).join(" ");
if (imports !== "env.put") writeSync(1, `broken: it imports ${imports}\n`);
const instance = new WebAssembly.Instance(module, { env: { put } });
memory = instance.exports.memory;
process.exitCode = instance.exports.bits();
