// A program in a run, as its author writes it: the SDK of OpenAI finds the gateway by its environment.
import { createRequire } from "node:module";

const OpenAI = createRequire(process.env.MODULES + "/")("openai");
const client = new OpenAI({ maxRetries: 0 });
const ask = (content, more = {}) =>
  client.chat.completions.create({ model: "scripted", messages: [{ role: "user", content }], ...more });
const tools = [
  { type: "function", function: { name: "look_up", parameters: { type: "object", properties: {} } } },
];
const seen = {};

const whole = await ask("hello there");
seen.whole = [whole.choices[0].message.content, whole.usage.total_tokens];

seen.pieces = [];
for await (const chunk of await ask("hello there", { stream: true, stream_options: { include_usage: true } })) {
  if (chunk.choices[0]?.delta.content) seen.pieces.push(chunk.choices[0].delta.content);
  if (chunk.usage) seen.usage = chunk.usage.total_tokens;
}

const streamed = client.chat.completions.stream({
  model: "scripted",
  messages: [{ role: "user", content: "look it up" }],
  tools,
});
const asked = (await streamed.finalChatCompletion()).choices[0].message;
seen.call = [asked.tool_calls[0].function.name, JSON.parse(asked.tool_calls[0].function.arguments)];
const called = {
  role: "assistant",
  content: asked.content,
  tool_calls: asked.tool_calls.map(({ id, type, function: { name, arguments: text } }) => ({
    id,
    type,
    function: { name, arguments: text },
  })),
};
const result = { role: "tool", tool_call_id: asked.tool_calls[0].id, content: "a narrow inlet" };
const messages = [{ role: "user", content: "look it up" }, called, result];
seen.final = (await client.chat.completions.create({ model: "scripted", messages, tools })).choices[0].message.content;

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

seen.refused = await ask("hi", { logit_bias: { 1: 5 } }).catch((error) => [
  error.constructor.name,
  error.status,
  error.code,
  error.param,
]);
seen.limited = await ask("too fast").catch((error) => [error.constructor.name, error.headers.get("retry-after")]);
console.log(JSON.stringify(seen));
