// Says what the official parser finds in the document on standard input.
const { Parser } = require("@asyncapi/parser");

let text = "";
process.stdin.on("data", (chunk) => (text += chunk));
process.stdin.on("end", async () => {
  const { document, diagnostics } = await new Parser().parse(text);
  const errors = diagnostics.filter((one) => one.severity === 0).map((one) => `${one.path.join(".")}: ${one.message}`);
  const addresses = document ? document.channels().all().map((one) => one.address()) : [];
  console.log(JSON.stringify({ valid: document !== undefined, errors, addresses }));
});
