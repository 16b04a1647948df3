// Answers GET /{{name}}/items/SKU with the catalog's item.
//
// Reading a record makes it a tag of the answer: a write to it takes the answer out of every cache.
import { get } from "brink:platform/records@0.1.0";
import { setLifetime } from "brink:platform/cache@0.1.0";
import { pop } from "brink:platform/identity@0.1.0";
import { route } from "./route.js";

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
  const { status, body, headers } = route(request.method, url.pathname, url.searchParams, platform);
  return new Response(JSON.stringify(body), { status, headers });
}
