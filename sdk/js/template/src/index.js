// Answers GET /{{name}}/items/SKU with the catalog's item.
//
// Reading a record makes it a tag of the answer: a write to it takes the answer out of every cache.
import { get } from "brink:platform/records@0.1.0";
import { setLifetime } from "brink:platform/cache@0.1.0";
import { pop } from "brink:platform/identity@0.1.0";
import { problem, route } from "./route.js";

const platform = {
  pop,
  setLifetime,
  record(collection, partition, sort) {
    const entry = get({ collection, partition, sort });
    return entry ? JSON.parse(new TextDecoder().decode(entry.value)) : undefined;
  },
};

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  const { status, body, headers } = attempt(() => route(request.method, url.pathname, url.searchParams, platform));
  return new Response(JSON.stringify(body), { status, headers });
}

// An error of the platform has its kind in `payload.tag`; see wit/deps/platform.wit.
function attempt(work) {
  try {
    return work();
  } catch (error) {
    console.error(error);
    return error?.payload?.tag === "unavailable" ? problem(503, "Service unavailable", "try again") : problem(500, "Internal error", "see the log");
  }
}
