// A call and an upload with a function that is like fetch.
module.exports = async (fetch) => {
  try {
    for (const [method, body] of [["GET", undefined], ["POST", "x".repeat(300000)]]) {
      const answer = await fetch(`${process.argv[2]}/echo`, { method, body });
      const said = await answer.text();
      console.log(method, answer.status, answer.ok ? JSON.parse(said).length : said);
      if (!answer.ok) process.exit(1);
    }
  } catch (error) {
    for (let cause = error; cause; cause = cause.cause) console.error(cause.message);
    process.exit(1);
  }
};
