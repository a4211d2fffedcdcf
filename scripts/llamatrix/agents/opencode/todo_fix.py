"""The todowrite fix: a plugin of ours for models that send the list as a string.

Some models give `todos` as a JSON string of the array. OpenCode 1.3.2 and 1.18.33
both refuse that; a hook before the tool runs can put it right.
"""

FILE_NAME = "todo-fix.js"

SOURCE = """\
// Gives todowrite the array that some models send as its JSON text.
export const TodoFix = async () => ({
  "tool.execute.before": async (call, work) => {
    if (call.tool !== "todowrite" || typeof work.args?.todos !== "string") return
    try {
      const todos = JSON.parse(work.args.todos)
      if (Array.isArray(todos)) work.args.todos = todos
    } catch {
      // not JSON: the tool shall say so itself
    }
  },
})
"""
