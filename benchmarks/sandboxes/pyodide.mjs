// Pyodide in Deno, one JSON line of code in, one of what came of it out.
import { loadPyodide } from "npm:pyodide@314.0.7";
import process from "node:process";
import { createInterface } from "node:readline";

const out = [];
const python = await loadPyodide({ stdout: (s) => out.push(s), stderr: (s) => out.push(s) });
const say = (message) => console.log(JSON.stringify(message));
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  out.length = 0;
  try {
    const value = await python.runPythonAsync(JSON.parse(line).code);
    say({ ok: true, text: value === undefined || value === null ? out.join("\n") : String(value) });
  } catch (e) {
    say({ ok: false, text: String(e.message).trim().split("\n").pop() });
  }
}
