// Reads [operation, arguments] from standard input, a line each; answers each with a line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const { Client } = await import(process.argv[2]);
const text = readFileSync(fileURLToPath(new URL("driver.js", import.meta.url)), "utf8");
const driver = new Function(`${text}; return makeDriver`)()(Client);
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [operation, facts] = JSON.parse(line);
  console.log(JSON.stringify((await driver[operation](...facts)) ?? null));
}
driver.close();
