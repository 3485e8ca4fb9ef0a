// wasm.mjs: bits() in a WebAssembly module: node tests/embed/wasm.mjs MODULE.wasm
import { readFileSync, writeSync } from "node:fs";

let memory;
function put(text) {
  const bytes = new Uint8Array(memory.buffer);
  let end = text;
  while (bytes[end]) end++;
  writeSync(1, bytes.subarray(text, end));
}
const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), { env: { put } });
memory = instance.exports.memory;
process.exitCode = instance.exports.bits();
