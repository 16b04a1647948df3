"""Purges with the official clients of Fastly and Cloudflare, pointed at our address.

Reads one call a line, in JSON, and prints one answer a line:

    {"client": "fastly", "call": "purge_tag", "arguments": {"service_id": "default", "surrogate_key": "a"}, "token": "..."}
    {"answer": {"status": "ok", "id": "..."}}
    {"error": "UnauthorizedException", "status": 401, "body": "..."}

`error` is the class of the exception that the client raised.
"""

import argparse
import json
import ssl
import sys

import cloudflare
import fastly
import httpx
from fastly.api.purge_api import PurgeApi
from fastly.model.purge_response import PurgeResponse


def call_fastly(options, asked):
    """Calls a method of Fastly's `PurgeApi`."""
    configuration = fastly.Configuration(host=options.url, ssl_ca_cert=options.ca)
    configuration.api_token = asked["token"]
    arguments = dict(asked["arguments"])
    if "surrogate_keys" in arguments:
        arguments["purge_response"] = PurgeResponse(surrogate_keys=arguments.pop("surrogate_keys"))
    with fastly.ApiClient(configuration) as client:
        return getattr(PurgeApi(client), asked["call"])(**arguments).to_dict()


def call_cloudflare(options, asked):
    """Calls a method of Cloudflare's `client.cache`."""
    verify = ssl.create_default_context(cafile=options.ca)
    client = cloudflare.Cloudflare(
        api_token=asked["token"],
        base_url=f"{options.url}/client/v4",
        http_client=httpx.Client(verify=verify),
        max_retries=0,
    )
    with client:
        return getattr(client.cache, asked["call"])(**asked["arguments"]).to_dict()


CLIENTS = {"fastly": call_fastly, "cloudflare": call_cloudflare}


def answer(options, asked):
    """The answer to one call."""
    try:
        return {"answer": CLIENTS[asked["client"]](options, asked)}
    except fastly.ApiException as error:
        body = error.body.decode() if isinstance(error.body, bytes) else error.body
        return {"error": type(error).__name__, "status": error.status, "body": body}
    except cloudflare.APIStatusError as error:
        return {"error": type(error).__name__, "status": error.status_code, "body": error.response.text}


def main():
    """Answers until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="https://HOST:PORT of the control API")
    parser.add_argument("--ca", required=True, help="PEM file of its authority")
    options = parser.parse_args()
    for line in sys.stdin:
        print(json.dumps(answer(options, json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
