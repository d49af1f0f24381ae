#!/bin/sh
# A boot loader that tries a new image once. `running` is what the node runs, `good` what it goes
# back to, `next` what it tries at the next start.
folder=$1 verb=$2 image=$3
case $verb in
install)
    if [ -e "$folder/worn" ]; then
        echo "the flash is worn out" >&2
        exit 1
    fi
    cp "$image" "$folder/next.new"
    mv "$folder/next.new" "$folder/next"
    ;;
confirm)
    if ! cmp -s "$image" "$folder/running"; then
        echo "the node runs $(cat "$folder/running")" >&2
        exit 1
    fi
    cp "$folder/running" "$folder/good.new"
    mv "$folder/good.new" "$folder/good"
    rm -f "$folder/next"
    ;;
restart)
    echo "$PLACET_IMAGE_NAME $PLACET_IMAGE_VERSION" >"$folder/restarted"
    ;;
esac
