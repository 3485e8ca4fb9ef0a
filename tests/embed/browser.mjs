// browser.mjs: the page of examples/embed/wasm in a browser without a window: node tests/embed/browser.mjs BROWSER FOLDER
// BROWSER: Chromium, or its headless shell.  FOLDER: where `make` has run.  The page is opened from its file (alone.html) and from a
// server (index.html); somebody draws, names what was drawn, trains, saves and loads.  Fails on any error that the page reports.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, mkdtempSync, rmSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [browser, folder] = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), "nnc-browser-"));
const process_ = spawn(browser, ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", `--user-data-dir=${work}/profile`],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });

// ---- the protocol: JSON, each message ended by a zero byte ----
let number = 0, rest = "";
const waiting = new Map(), problems = [];
process_.stdio[4].on("data", data => {
  const parts = (rest + data).split("\0");
  rest = parts.pop();
  for (const part of parts) {
    const message = JSON.parse(part), wait = waiting.get(message.id);
    if (wait) waiting.delete(message.id), message.error ? wait.reject(new Error(message.error.message)) : wait.resolve(message.result);
    if (message.method === "Runtime.exceptionThrown") problems.push(message.params.exceptionDetails.exception?.description);
  }
});
let session;
function send(method, params = {}) {
  const id = ++number;
  process_.stdio[3].write(JSON.stringify({ id, method, params, sessionId: session }) + "\0");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}
async function evaluate(expression) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
  return result.value;
}
async function until(expression, what = expression) {
  for (let i = 0; i < 600; i++) {
    if (await evaluate(expression)) return;
    await new Promise(done => setTimeout(done, 50));
  }
  assert.fail(`never: ${what}; the page says: ${await evaluate("document.getElementById('trouble').textContent")}`);
}
const text = id => evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`);
const click = async id => evaluate(`document.getElementById(${JSON.stringify(id)}).click()`);

// By the mouse, as a person would.
async function draw(strokes) {
  const box = JSON.parse(await evaluate("paper.scrollIntoView(), JSON.stringify(paper.getBoundingClientRect())"));
  for (const stroke of strokes)
    for (const [i, [x, y]] of stroke.entries()) {
      const at = { x: box.x + x * box.width, y: box.y + y * box.height, button: "left", buttons: 1, clickCount: 1 };
      await send("Input.dispatchMouseEvent", { type: i ? "mouseMoved" : "mousePressed", ...at });
      if (i === stroke.length - 1) await send("Input.dispatchMouseEvent", { type: "mouseReleased", ...at, buttons: 0 });
    }
}
const seven = [[[.2, .2], [.5, .2], [.8, .2], [.6, .5], [.45, .85]]];
const cross = [[[.2, .2], [.8, .8]], [[.8, .2], [.2, .8]]];

async function open(url) {
  session = undefined;
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  await send("Runtime.enable");
  await send("Page.enable");
  await send("Page.navigate", { url });
  // until the new document is there questions go to the old one, or to none
  for (let i = 0; !await evaluate(`location.href === ${JSON.stringify(url)} && document.readyState === "complete"`).catch(() => false); i++) {
    assert.ok(i < 600, `${url} does not load`);
    await new Promise(done => setTimeout(done, 50));
  }
}

async function use(url) {
  await open(url);
  await until("document.body.dataset.ready === 'yes'", `${url} is ready`);
  assert.equal(await text("steps"), "0");

  // it trains, on digits of its own
  await click("train");
  await until("training.accuracy > 0.9 && learner.steps > 100", "nine tenths of the digits are right");
  await click("train");
  const steps = +await text("steps"), loss = +await text("loss"), accuracy = await text("accuracy");
  assert.ok(loss < 1 && steps > 100);
  assert.ok(await evaluate("curve.getContext('2d').getImageData(0, 0, 420, 200).data.some(x => x)"), "a curve is drawn");
  console.log(`${url.split(":")[0]}: ${steps} steps, loss ${loss}, ${accuracy} right, ${await text("time")}`);

  // a seven is known; a cross is none of them, and is learnt as a four
  await draw(seven);
  assert.equal(await evaluate("guess.dataset.best"), "7");
  await click("clear");
  await draw(cross);
  await evaluate("kinds.children[4].click()");
  await draw(cross);
  assert.equal(await evaluate("guess.dataset.best"), "4");
  assert.match(await text("score"), /of the 1 that you named/);
  assert.equal(+await text("steps"), steps + 30);

  // saved, begun anew, loaded
  await send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: work });
  await click("save");
  for (let i = 0; i < 100 && !readdirSync(work).includes("learn.bin"); i++) await new Promise(done => setTimeout(done, 50));
  const saved = readFileSync(`${work}/learn.bin`);
  assert.equal(saved.length, await evaluate("learner.block.length"));
  await click("anew");
  assert.equal(await text("steps"), "0");
  writeFileSync(`${work}/stale.bin`, Buffer.alloc(saved.length));
  const { root } = await send("DOM.getDocument");
  const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "#load" });
  await send("DOM.setFileInputFiles", { nodeId, files: [`${work}/stale.bin`] });
  await until("document.getElementById('trouble').textContent", "a stale file is refused");
  assert.equal(await text("steps"), "0");
  await send("DOM.setFileInputFiles", { nodeId, files: [`${work}/learn.bin`] });
  await until(`document.getElementById("steps").textContent == ${steps + 30}`, "the saved training is back");
  assert.equal(await text("trouble"), "");
  assert.equal(await evaluate("guess.dataset.best"), "4");
  rmSync(`${work}/learn.bin`);
}

// ---- a server of the folder, whose Fashion-MNIST is ten pictures ----
const types = { html: "text/html", wasm: "application/wasm" };
const server = createServer((request, response) => {
  const name = request.url.slice(1);
  if (!["index.html", "learn.wasm"].includes(name)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": types[name.split(".")[1]] }).end(readFileSync(join(folder, name)));
});
await new Promise(done => server.listen(0, "127.0.0.1", done));

try {
  await use(`file://${resolve(folder)}/alone.html`);
  await use(`http://127.0.0.1:${server.address().port}/index.html`);
  await evaluate("source.value = 'fashion', source.onchange()");
  assert.equal(await evaluate("document.getElementById('fashion').hidden"), false, "without Fashion-MNIST the page asks for it");
  await open(`file://${resolve(folder)}/index.html`);
  await until("!wanted.hidden", "a page from a file asks for the module");
  const { root } = await send("DOM.getDocument");
  const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "#module-file" });
  await send("DOM.setFileInputFiles", { nodeId, files: [resolve(folder, "learn.wasm")] });
  await until("document.body.dataset.ready === 'yes'", "the chosen module is loaded");
  assert.deepEqual(problems, []);
} finally {
  server.close();
  server.closeAllConnections();
  session = undefined;
  const gone = new Promise(done => process_.on("exit", done));
  send("Browser.close").catch(() => {});
  await gone;
  rmSync(work, { recursive: true, force: true, maxRetries: 5 });
}
