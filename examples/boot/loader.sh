#!/bin/sh
# A boot loader that tries a new image once. `running` is what the node runs, `good` what it goes
# back to, `next` what it tries at the next start; beside each is its signature, so that a node need
# not keep the image itself.
folder=$1 verb=$2 image=$3
case $verb in
install)
    if [ -e "$folder/worn" ]; then
        echo "the flash is worn out" >&2
        exit 1
    fi
    cp "$image" "$folder/next.new"
    echo "$PLACET_IMAGE_SIGNATURE" >"$folder/next.signature"
    mv "$folder/next.new" "$folder/next"
    ;;
confirm)
    if [ -e "$folder/running.signature" ]; then
        runs=$(cat "$folder/running.signature")
        test "$runs" = "$PLACET_IMAGE_SIGNATURE"
    else
        # It was delivered with the node.
        cmp -s "$image" "$folder/running"
    fi
    if [ $? -ne 0 ]; then
        echo "the node runs $(cat "$folder/running")" >&2
        exit 1
    fi
    echo "$PLACET_IMAGE_SIGNATURE" >"$folder/running.signature"
    cp "$folder/running.signature" "$folder/good.signature"
    cp "$folder/running" "$folder/good.new"
    mv "$folder/good.new" "$folder/good"
    rm -f "$folder/next" "$folder/next.signature"
    ;;
restart)
    echo "$PLACET_IMAGE_NAME $PLACET_IMAGE_VERSION" >"$folder/restarted"
    ;;
esac
