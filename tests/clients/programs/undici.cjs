// fetch through the proxy that undici finds in the environment. Argument: the origin.
const { EnvHttpProxyAgent, fetch } = require("undici");
const run = require("./fetch.cjs");

const dispatcher = new EnvHttpProxyAgent();
run((url, options) => fetch(url, { ...options, dispatcher }));
