// Node's own http module: absolute-form for http, CONNECT for https. Argument: the origin.
const http = require("node:http");
const https = require("node:https");

const origin = new URL(process.argv[2]);
const proxy = new URL(process.env.http_proxy);

const text = async (stream) => {
  let all = "";
  for await (const part of stream) all += part;
  return all;
};

const answered = (request, body) =>
  new Promise((resolve, reject) => {
    request.on("response", resolve).on("error", reject).end(body);
  });

// A connection through the proxy.
const tunnel = () =>
  new Promise((resolve, reject) => {
    const path = `${origin.hostname}:443`;
    const connect = http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path, headers: { host: path } });
    connect.on("connect", (answer, socket, head) => {
      if (answer.statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new Error(`CONNECT ${answer.statusCode} ${answer.statusMessage} ${head}`));
    });
    connect.on("error", reject).end();
  });

const request = async (method) => {
  if (origin.protocol === "https:") {
    return https.request({ host: origin.hostname, path: "/echo", method, socket: await tunnel(), agent: false });
  }
  return http.request({ host: proxy.hostname, port: proxy.port, path: `${origin.origin}/echo`, method, headers: { host: origin.host } });
};

(async () => {
  const got = await answered(await request("GET"));
  console.log("GET", got.statusCode, await text(got));
  if (got.statusCode !== 200) process.exit(1);
  const posted = await answered(await request("POST"), "x".repeat(300000));
  console.log("POST", posted.statusCode, JSON.parse(await text(posted)).length);
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
