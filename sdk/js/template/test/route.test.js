import assert from "node:assert/strict";
import { test } from "node:test";
import { route } from "../src/route.js";

function platform(records = {}) {
  return {
    lifetime: undefined,
    pop: () => "test",
    setLifetime(seconds) {
      this.lifetime = seconds;
    },
    record: (collection, partition, sort) => records[`${collection}/${partition}/${sort}`],
  };
}

const ask = (path, on = platform(), method = "GET") => {
  const url = new URL(path, "https://localhost");
  return route(method, url.pathname, url.searchParams, on);
};

test("greets", () => {
  const on = platform();
  assert.deepEqual(ask("/{{name}}?name=Ada", on).body, { greeting: "Hello, Ada!", pop: "test" });
  assert.equal(on.lifetime, 60);
});

test("answers with an item, or says that there is none", () => {
  const on = platform({ "catalog/items/AB-1": { sku: "AB-1" } });
  assert.deepEqual(ask("/{{name}}/items/AB-1", on).body, { sku: "AB-1" });
  assert.equal(ask("/{{name}}/items/none", on).status, 404);
  assert.equal(ask("/{{name}}/items/%zz", on).status, 404);
  assert.equal(ask("/{{name}}", on, "DELETE").status, 405);
});
