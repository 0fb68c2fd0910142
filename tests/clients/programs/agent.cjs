// https.request with https-proxy-agent and connections kept alive. Argument: the origin.
const https = require("node:https");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const text = async (stream) => {
  let all = "";
  for await (const part of stream) all += part;
  return all;
};

(async () => {
  const entry = path.join(process.env.NODE_PATH, "https-proxy-agent/dist/index.js");
  const { HttpsProxyAgent } = await import(pathToFileURL(entry));
  const agent = new HttpsProxyAgent(process.env.https_proxy, { keepAlive: true, maxSockets: 1 });
  for (const [method, body] of [["GET", undefined], ["POST", "x".repeat(300000)]]) {
    const answer = await new Promise((resolve, reject) => {
      https.request(`${process.argv[2]}/echo`, { method, agent }).on("response", resolve).on("error", reject).end(body);
    });
    const said = await text(answer);
    console.log(method, answer.statusCode, answer.statusCode === 200 ? JSON.parse(said).length : said);
    if (answer.statusCode !== 200) process.exit(1);
  }
  agent.destroy();
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
