#!/bin/sh
# Says what a change would do to the fleet, and keeps one comment on its pull request up to date.
#
#   placet-check BASE HEAD [OPTION of `placet check`]...
#
# Install it beside `placet`, as `placet-check`: never run it from the clone that it is to judge,
# where a pull request could have changed it. It runs in that clone, and runs nothing of it.
#
# Exit code 0: nothing breaks; 1: something would break, or a rule objects; 2: it cannot be told.
#
# It writes `comment.md`. The rest is asked for by variables, all of which may be missing:
#
#   PLACET_JUNIT    a file for a JUnit report
#   PLACET_SARIF    a file for a SARIF report
#   PLACET_HOST     how to comment: `github`, `gitea` or `gitlab`
#   PLACET_API      https://api.github.com, https://gitea.example/api/v1, https://gitlab.example/api/v4
#   PLACET_PROJECT  owner/name; the number of the project for GitLab
#   PLACET_NUMBER   the number of the pull request
#   PLACET_TOKEN    what may comment; without it, as for forks, nobody is asked to
set -eu

marker='<!-- placet check -->'
report=comment.md

if [ $# -lt 2 ]; then
  echo 'usage: placet-check BASE HEAD [OPTION of `placet check`]...' >&2
  exit 2
fi
base=$1 head=$2
shift 2
private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT

# What others did since on the main branch is not this change's doing.
from=$(git merge-base "$base" "$head" 2> "$private/error") || from=$base

# check FORMAT FILE [OPTION]...: its exit code is that of `placet check`.
check() {
  format=$1 file=$2
  shift 2
  placet check --from "$from" --to "$head" -o "$format" --report "$file" "$@" 2> "$private/error"
}

write_report() {
  rm -f "$private/report"
  code=0
  check markdown "$private/report" "$@" || code=$?
  cat "$private/error" >&2
  {
    echo "$marker"
    if [ -e "$private/report" ]; then
      cat "$private/report"
    else
      echo '### Placet: cannot tell'
      echo '````text'
      head -c 20000 "$private/error"
      echo
      echo '````'
    fi
  } > "$report"
}

# request METHOD URL [CURL OPTION]...: the token is in no list of processes.
request() {
  method=$1 url=$2
  shift 2
  curl --fail --silent --show-error --max-time 30 --request "$method" \
    --header "@$private/header" --header 'Content-Type: application/json' "$@" "$url"
}

# The number of the comment that an earlier run made, if any.
find_comment() {
  page=1
  while [ "$page" -le 50 ]; do
    request GET "$comments?per_page=50&limit=50&page=$page" > "$private/page" || return 1
    jq --raw-output --arg marker "$marker" \
      'map(select(.body // "" | startswith($marker))) | .[0].id // empty' \
      "$private/page" > "$private/number" || return 1
    if [ -s "$private/number" ]; then
      cat "$private/number"
      return 0
    fi
    [ "$(jq length "$private/page")" -ge 50 ] || return 0
    page=$((page + 1))
  done
}

comment() {
  issue="$PLACET_API/repos/$PLACET_PROJECT/issues"
  comments="$issue/$PLACET_NUMBER/comments" one="$issue/comments" update=PATCH
  case "$PLACET_HOST" in
    github) login="Authorization: Bearer $PLACET_TOKEN" ;;
    gitea) login="Authorization: token $PLACET_TOKEN" ;;
    gitlab)
      login="PRIVATE-TOKEN: $PLACET_TOKEN"
      comments="$PLACET_API/projects/$PLACET_PROJECT/merge_requests/$PLACET_NUMBER/notes"
      one=$comments update=PUT
      ;;
    *)
      echo "placet-check: PLACET_HOST is github, gitea or gitlab, not \`$PLACET_HOST\`" >&2
      return 1
      ;;
  esac
  (umask 077 && printf '%s\n' "$login" > "$private/header")
  jq --raw-input --slurp '{body: .}' "$report" > "$private/body"
  number=$(find_comment) || return 1
  if [ -n "$number" ] && request "$update" "$one/$number" --data "@$private/body" > "$private/answer"; then
    return 0
  fi
  # There is none yet, or it is somebody else's.
  request POST "$comments" --data "@$private/body" > "$private/answer"
}

write_report "$@"
if [ -n "${PLACET_JUNIT:-}" ]; then check junit "$PLACET_JUNIT" "$@" || true; fi
if [ -n "${PLACET_SARIF:-}" ]; then check sarif "$PLACET_SARIF" "$@" || true; fi
if [ -n "${PLACET_TOKEN:-}" ]; then
  comment || echo 'placet-check: the comment could not be written; the report is in comment.md' >&2
fi
exit "$code"
