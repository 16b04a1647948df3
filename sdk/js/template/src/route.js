// What the module does, without the platform: `npm test` runs it in Node.

const json = { "content-type": "application/json", "cache-control": "no-cache" };

export function route(method, path, query, platform) {
  const [, ...segments] = path.split("/").filter(Boolean).map(decoded);
  if (method !== "GET" && method !== "HEAD") {
    return problem(405, "Method not allowed", "allowed: GET, HEAD", { allow: "GET, HEAD" });
  }
  if (segments.length === 0) {
    platform.setLifetime(60);
    return { status: 200, headers: json, body: { greeting: `Hello, ${query.get("name") || "world"}!`, pop: platform.pop() } };
  }
  if (segments.length === 2 && segments[0] === "items") {
    const item = platform.record("catalog", "items", segments[1]);
    if (!item) return problem(404, "Not found", `no item ${segments[1]}`);
    platform.setLifetime(3600);
    return { status: 200, headers: json, body: item };
  }
  return problem(404, "Not found", "nothing here");
}

// RFC 9457.
export function problem(status, title, detail, headers = {}) {
  const fields = { "content-type": "application/problem+json", "cache-control": "no-store", ...headers };
  return { status, headers: fields, body: { title, status, detail } };
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
