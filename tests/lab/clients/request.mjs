// Two requests on one connection with Node's own clients. Arguments: URL, CA file, 1 or 2 for the HTTP version.
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";

const [url, ca, version] = process.argv.slice(2);
const target = new URL(url);
const trust = { ca: readFileSync(ca) };

const read = async (stream) => {
  let text = "";
  for await (const piece of stream) text += piece;
  if ((stream.statusCode ?? 200) !== 200) throw new Error(`${stream.statusCode} ${stream.statusMessage}: ${text}`);
  return JSON.parse(text).body;
};

if (version === "2") {
  const session = http2.connect(target.origin, trust);
  for (const body of ["first", "second"]) {
    const stream = session.request({ ":method": "POST", ":path": target.pathname });
    stream.end(body);
    console.log(await read(stream));
  }
  session.close();
} else {
  const client = target.protocol === "https:" ? https : http;
  const agent = new client.Agent({ keepAlive: true, maxSockets: 1 });
  for (const body of ["first", "second"]) {
    const answer = await new Promise((resolve, reject) => {
      const request = client.request(target, { method: "POST", agent, ...trust }, resolve);
      request.on("error", reject);
      request.end(body);
    });
    console.log(await read(answer));
  }
  agent.destroy();
}
