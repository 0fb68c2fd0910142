// A chunked POST with a trailer, answered by an interim response and a trailer. Argument: the origin.
const http = require("node:http");

const origin = new URL(process.argv[2]);
const proxy = new URL(process.env.http_proxy);
const request = http.request({
  host: proxy.hostname,
  port: proxy.port,
  method: "POST",
  path: `${origin.origin}/trailers`,
  headers: { host: origin.host, trailer: "X-Sent", te: "trailers" },
});
request.on("information", (interim) => console.log("interim", interim.statusCode, interim.headers.link));
request.on("response", (answer) => {
  answer.setEncoding("utf8");
  answer.on("data", (text) => console.log("body", text));
  answer.on("end", () => console.log("trailers", JSON.stringify(answer.trailers)));
});
request.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
request.write("some");
request.addTrailers({ "X-Sent": "after the body" });
request.end(" words");
