---@meta ponder
-- Types of ponder's tools for lua-language-server: add the folder of this file to
-- "Lua.workspace.library". Nothing here is ever run.
--
-- Where a function says `T?, string?`, it gives a value, or nil and why there is none.

---A tool: what its file returns.
---@class ponder.Tool
---@field name string letters, digits, _ and -; at most 64
---@field description string what it is good for; the model reads it
---@field parameters? table|string JSON Schema of an object, as a table or as text
---@field effect "pure"|"idempotent"|"compensable"|"irreversible"
---@field capabilities? string[] "http", "http:HOST", "fs", "fs-read", "sql", "exec", "exec:PROGRAM", "secret:NAME", "kv", "ask", "agent"
---@field examples? ponder.Example[] for `ponder tool test`
---@field run fun(args: table, ctx: ponder.Context): any, string?

---@class ponder.Example
---@field args? table
---@field expect? any the result: text, or a table
---@field expect_error? string part of the error
---@field answers? table<string, any[]> what functions of ctx give, in order: {["http.get"] = {...}}; {error = "..."} fails

---What a tool can do beside computing.
---@class ponder.Context
---@field idempotency_key string the same whenever this call is made, also again after a crash; "" outside a session
---@field json ponder.json
---@field regex ponder.regex
---@field time ponder.time
---@field http ponder.http needs "http"
---@field fs ponder.fs needs "fs" or "fs-read"
---@field kv ponder.kv needs "kv"
local ctx = {}

---A value that can be handed on and not be seen. Joined with text it is another one.
---@class ponder.Secret
---@operator concat(string): ponder.Secret

---Keeps a line in the session's log. The model does not see it.
---@param text string
function ctx.log(text) end

---Shows the person how far the call is.
---@param text string
---@param share? number 0 to 1
function ctx.progress(text, share) end

---Waits. Other calls go on.
---@param seconds number
function ctx.sleep(seconds) end

---One statement on the tool's own SQLite database. Needs "sql".
---@param statement string with ? for values
---@param ... string|number|boolean|nil
---@return table[]? rows fields by name; NULL is absent
---@return string? problem
function ctx.sql(statement, ...) end

---Runs a program in the sandbox, without a shell. Needs "exec" or "exec:PROGRAM".
---@param argv string[]
---@param options? { input?: string, env?: table<string, string|ponder.Secret>, seconds_max?: integer, bytes_max?: integer }
---@return { code: integer, stdout: string, stderr: string }? result
---@return string? problem
function ctx.exec(argv, options) end

---A secret that the person keeps. Needs "secret:NAME". May stand in headers of ctx.http and in the
---environment of ctx.exec.
---@param name string
---@return ponder.Secret? secret
---@return string? problem
function ctx.secret(name) end

---Asks the person. Needs "ask".
---@param question string
---@param options? { choices?: string[] }
---@return string? answer
---@return string? problem
function ctx.ask(question, options) end

---Hands a task to another agent. Needs "agent".
---@param task string all that it is told
---@param options? { tools?: string[], steps_max?: integer, tokens_max?: integer, seconds_max?: integer }
---@return string? answer
---@return string? problem
function ctx.agent(task, options) end

---@class ponder.json
---@field null lightuserdata JSON's null in lists
local json = {}

---@param value any
---@return string
function json.encode(value) end

---@param text string
---@return any value
---@return string? problem
function json.decode(text) end

---@class ponder.Match
---@field text string
---@field first integer
---@field last integer
---@field groups (string|lightuserdata)[] ctx.json.null for a group that took no part

---Perl-compatible regular expressions on UTF-8.
---@class ponder.regex
local regex = {}

---@param text string
---@param pattern string
---@return ponder.Match? first the first match
function regex.match(text, pattern) end

---@param text string
---@param pattern string
---@return ponder.Match[]
function regex.all(text, pattern) end

---@param text string
---@param pattern string
---@param replacement string $1 to $9 for groups, $0 for the match, $$ for a dollar
---@return string
function regex.replace(text, pattern, replacement) end

---Times are seconds since 1970 in UTC.
---@class ponder.time
local time = {}

---The time now; the session's log keeps what it was.
---@return number
function time.now() end

---@param seconds number
---@param format? string as of strftime; ISO 8601 without one
---@return string
function time.format(seconds, format) end

---@param text string
---@param format? string as of strptime; ISO 8601 without one
---@return number? seconds
---@return string? problem
function time.parse(text, format) end

---@class ponder.HttpOptions
---@field headers? table<string, string|ponder.Secret>
---@field body? string
---@field json? any sent as JSON, in the place of body
---@field seconds_max? integer 30 without one
---@field bytes_max? integer of the answer; 1 MiB without one

---@class ponder.HttpRequest: ponder.HttpOptions
---@field url string
---@field method? "GET"|"HEAD"|"POST"|"PUT"|"PATCH"|"DELETE"

---@class ponder.HttpResponse
---@field status integer any status is an answer
---@field headers table<string, string> names in lower case
---@field body string
---@field url string what was read in the end, after redirects

---@class ponder.http
local http = {}

---@param url string
---@param options? ponder.HttpOptions
---@return ponder.HttpResponse? response
---@return string? problem
function http.get(url, options) end

---@param url string
---@param options? ponder.HttpOptions
---@return ponder.HttpResponse? response
---@return string? problem
function http.post(url, options) end

---@param request ponder.HttpRequest
---@return ponder.HttpResponse? response
---@return string? problem
function http.request(request) end

---Files of the folder that was granted; paths are relative to it.
---@class ponder.fs
local fs = {}

---@param path string
---@return string? text
---@return string? problem
function fs.read(path) end

---@param path? string the folder itself without one
---@return { name: string, kind: "file"|"folder"|"link"|"other", bytes: integer }[]? entries
---@return string? problem
function fs.list(path) end

---Needs "fs". The file is whole at any time.
---@param path string
---@param text string
---@return true? done
---@return string? problem
function fs.write(path, text) end

---Values that the session keeps for this tool.
---@class ponder.kv
local kv = {}

---@param key string
---@return any value nil when there is none
---@return string? problem
function kv.get(key) end

---@param key string
---@param value any nil forgets it
---@return true? done
---@return string? problem
function kv.set(key, value) end
