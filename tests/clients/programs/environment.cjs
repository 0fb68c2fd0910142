// Node's own fetch, with NODE_USE_ENV_PROXY. Argument: the origin.
require("./fetch.cjs")(fetch);
