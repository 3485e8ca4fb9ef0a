// page.mjs: what the page in examples/embed/wasm learns with and from, without a browser: node tests/embed/page.mjs FOLDER [FASHION-MNIST]
// FOLDER: where `make` has run; it leaves FOLDER/learn.bin there, the block that the page would save.  Prints what was reached.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync, existsSync } from "node:fs";
import { gzipSync } from "node:zlib";

const [folder, fashion] = process.argv.slice(2);
const page = readFileSync(`${folder}/index.html`, "utf8"), bytes = readFileSync(`${folder}/learn.wasm`);
const logic = page.match(/<script id="logic">([^]*?)<\/script>/)[1];
const names = ["Learner", "Training", "DigitSource", "DrawnSource", "FileSource", "drawDigit", "picture", "dice", "readIdx", "readFiles", "PIXELS"];
const { Learner, Training, DigitSource, DrawnSource, drawDigit, picture, dice, readFiles, PIXELS } =
  new Function(`${logic}; return { ${names.join(", ")} };`)();

// ---- the module: one memory of its own, nothing that it needs ----
const module = new WebAssembly.Module(bytes);
assert.deepEqual(WebAssembly.Module.imports(module), []);
assert.deepEqual(WebAssembly.Module.exports(module).filter(e => e.kind !== "function"), [{ name: "memory", kind: "memory" }]);
const alone = readFileSync(`${folder}/alone.html`, "utf8");
assert.deepEqual(Buffer.from(alone.match(/<script id="module"[^>]*>([^<]*)</)[1], "base64"), bytes);
assert.equal(alone.replace(/<script id="module"[^\n]*\n/, ""), page);

// ---- it learns the digits that it draws ----
const learner = await Learner.from(bytes), training = new Training(learner, new DigitSource());
const first = training.source.held.length && learner.accuracy(training.source.held);
const losses = [];
for (let i = 0; i < 250; i++) losses.push(training.step());
const mean = list => list.reduce((a, b) => a + b) / list.length;
const reached = learner.accuracy(training.source.held), before = mean(losses.slice(0, 5)), after = mean(losses.slice(-25));
console.log(`digits: loss ${before.toFixed(2)} to ${after.toFixed(2)}, right ${(100 * first).toFixed(0)} to ${(100 * reached).toFixed(0)} %`);
assert.ok(before > 2 && after < 0.4 && first < 0.3 && reached > 0.9);
assert.equal(learner.steps, 250);
const six = drawDigit(6, dice(77)).image, p = learner.predict(six);
assert.ok(Math.abs(mean(p) - 0.1) < 1e-6 && p[6] > 0.5);

// ---- what is saved goes on as if nothing had happened ----
const saved = learner.save(), more = Array.from({ length: learner.batch }, (_, i) => drawDigit(i % 10, dice(i)));
writeFileSync(`${folder}/learn.bin`, saved);
const loss = learner.step(more), continued = learner.save();
learner.begin(2);
assert.notDeepEqual(learner.predict(six), p);
assert.equal(learner.load(saved), true);
assert.deepEqual(learner.save(), saved);
assert.deepEqual(learner.predict(six), p);
assert.equal(learner.step(more), loss);
assert.deepEqual(learner.save(), continued);

// ---- what is no training of this network is refused, and a label that is no class: nothing changes ----
const stale = saved.slice();
stale[0] ^= 1;
for (const bad of [stale, new Uint8Array(saved.length), saved.slice(1), new Uint8Array(0)]) assert.equal(learner.load(bad), false);
more[3].label = 200;
assert.throws(() => learner.step(more), /no class/);
more[3].label = -1;
assert.throws(() => learner.step(more), /no class/);
assert.equal(learner.wasm.predict(learner.batch + 1), -5);
assert.equal(learner.wasm.predict(-1), -5);
assert.deepEqual(learner.save(), continued);
learner.wasm.set_rate(0);
more[3].label = 3;
learner.step(more);
learner.wasm.set_rate(0.003);

// ---- shapes drawn by hand: three of each are shown to it, others are recognised ----
const shape = (kind, random) => {
  const at = (x, y) => [300 * x + 40 * random(), 200 + 300 * y + 40 * random()];   // anywhere on a page, in any size
  if (kind === 0) return [[at(0, 0), at(1, 1)], [at(1, 0), at(0, 1)]];             // a cross
  if (kind === 1) return [[at(.5, 0), at(1, 1), at(0, 1), at(.5, 0)]];             // a triangle
  return [[at(0, .5), at(1, .5)]];                                                 // a line
};
const hand = dice(5), drawn = new DrawnSource();
for (let i = 0; i < 9; i++) drawn.add(picture(shape(i % 3, hand)), i % 3);
const shapes = new Training(learner, drawn);
shapes.begin(1);
for (let i = 0; i < 60; i++) shapes.step();
let right = 0;
for (let i = 0; i < 30; i++) right += learner.predict(picture(shape(i % 3, hand)))[i % 3] > 0.5;
console.log(`shapes: ${right} of 30 right after nine examples`);
assert.ok(right >= 28);
assert.equal(Math.max(...picture([])), 0);
assert.ok(picture([[[5, 5]]]).some(x => x > 100));

// ---- pictures out of files ----
const idx = (dims, data, type = 8) => {
  const head = Buffer.alloc(4 + 4 * dims.length);
  head[2] = type, head[3] = dims.length;
  dims.forEach((n, i) => head.writeUInt32BE(n, 4 + 4 * i));
  return new Blob([gzipSync(Buffer.concat([head, Buffer.from(data)]))]);
};
const some = Array.from({ length: 1100 }, (_, i) => drawDigit(i % 10, dice(i + 1)));
const images = idx([1100, 28, 28], Buffer.concat(some.map(s => s.image))), labels = idx([1100], some.map(s => s.label));
for (const files of [[images, labels], [labels, images]]) {
  const source = await readFiles(files);
  assert.equal(source.trained, 100);
  assert.equal(source.held.length, 1000);
  assert.deepEqual(source.held[999], some[1099]);
}
await assert.rejects(readFiles([images, images]), /pictures|label/);
await assert.rejects(readFiles([images]), /two files/);
await assert.rejects(readFiles([images, idx([1099], some.slice(1).map(s => s.label))]), /one label/);
await assert.rejects(readFiles([images, idx([1100], some.map(() => 11))]), /ten classes/);
await assert.rejects(readFiles([idx([1100, 28, 28], Buffer.alloc(10)), labels]), /as long as/);
await assert.rejects(readFiles([idx([100, PIXELS], Buffer.alloc(100 * PIXELS)), labels]), /28/);
await assert.rejects(readFiles([new Blob(["text"]), labels]), /no IDX/);

if (fashion && existsSync(`${fashion}/train-images-idx3-ubyte.gz`)) {
  const files = ["train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"].map(name => new Blob([readFileSync(`${fashion}/${name}`)]));
  const clothes = new Training(learner, await readFiles(files));
  clothes.begin(1);
  for (let i = 0; i < 300; i++) clothes.step();
  const held = learner.accuracy(clothes.source.held);
  console.log(`Fashion-MNIST: loss ${clothes.loss.toFixed(2)}, ${(100 * held).toFixed(0)} % of ${clothes.source.held.length} right after 300 steps`);
  assert.ok(held > 0.65);
} else {
  console.log("Fashion-MNIST: skipped, it is not here");
}
