"""Part of the simulated oned. Images: volumes, snapshots and what VMs boot from."""

from __future__ import annotations

import time
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from simulators.opennebula_records import (
    ACTION,
    ALLOCATE,
    AUTHORIZATION,
    DATED,
    DELETING,
    ERROR,
    INTERNAL,
    LOCKED_IMAGE,
    NO_EXISTS,
    READY,
    Refused,
    Stored,
    User,
    owned,
    permissions,
    pool,
    vector,
)


class Images:
    """Images: volumes, snapshots and what VMs boot from."""

    def _one_imagepool_info(self, user: User, whose: int, start: int, end: int) -> str:
        seen = [
            image
            for image in self.images.values()
            if image.owner is user or whose == -2 and image.owner is self.oneadmin
        ]
        return pool("IMAGE_POOL", [self._image(image) for image in seen], start, end)

    def _one_image_info(self, user: User, number: int) -> str:
        return self._image(self._found_image(number))

    def _found_image(self, number: int) -> Stored:
        if number not in self.images:
            raise Refused(NO_EXISTS, f"Error getting image [{number}].")
        return self.images[number]

    def _one_image_allocate(self, user: User, text: str, store: int) -> int:
        wanted = ElementTree.fromstring(text)
        name, size = wanted.findtext("NAME"), int(wanted.findtext("SIZE"))
        if store not in self.datastores:
            raise Refused(NO_EXISTS, f"Error getting datastore [{store}].")
        if self.datastores[store][1] != 0:
            raise Refused(
                ALLOCATE,
                "Error allocating a new image. New images can only be allocated in a files or image datastore.",
            )
        total, used = self.datastores[store][2:]
        limit, free = (
            self.store_says.get(store, {}).get("LIMIT_MB"),
            self.store_free.get(store, total - used),
        )
        if "full" in self.faults or size > (int(limit) - used if limit else free):
            raise Refused(ACTION, "Not enough space in datastore")
        self._check_quota(user, {"IMAGES": 1, "SIZE": size})
        self._check_name(user, name)
        made = self._keep(user, name, 2, size, wanted.findtext("PERSISTENT") == "YES")
        self._later(
            1,
            lambda: self._settle(
                made,
                "datablock-error",
                "Error creating datablock: mkfs failed: No space left on device",
            ),
        )
        return made.id

    def _check_name(self, user: User, name: str) -> None:
        for image in self.images.values():
            if image.owner is user and image.name == name:
                raise Refused(
                    ALLOCATE,
                    f"Error allocating a new image. NAME is already taken by IMAGE {image.id}.",
                )

    def _keep(self, user: User, name: str, kind: int, size: int, persistent: bool) -> Stored:
        made = Stored(
            next(self._ids["image"]),
            user,
            name,
            kind,
            LOCKED_IMAGE,
            size,
            persistent,
            made=time.time(),
        )
        self.images[made.id] = made
        return made

    def _settle(self, image: Stored, fault: str, said: str) -> None:
        """An image that was LOCKED is ready, or in ERROR."""
        if image.state == LOCKED_IMAGE:
            image.state = ERROR if fault in self.faults else READY
            if image.state == ERROR:
                image.said["ERROR"] = DATED + said

    def _one_image_delete(self, user: User, number: int, force: bool = False) -> int:
        image = self._found_image(number)
        if image.owner is not user and user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION,
                f"User [{user.id}] : Not authorized to perform MANAGE IMAGE [{number}].",
            )
        if image.state == LOCKED_IMAGE and self.since(6, 6):
            raise Refused(
                INTERNAL,
                "Image locked, use --force flag to remove the image. Force delete may leave some files on Datastore",
            )
        if image.vms:
            raise Refused(ACTION, f"Cannot delete image. There are {len(image.vms)} VMs using it.")
        image.state = DELETING
        if force:
            image.said["FORCE_DELETE"] = "YES"
        self._later(1, lambda: self._removed(image))
        return number

    def _removed(self, image: Stored) -> None:
        if not self.faults & {"rm-failure", "no-file"} or "FORCE_DELETE" in image.said:
            self.images.pop(image.id, None)
            return
        image.state = ERROR
        image.said["ERROR"] = (
            DATED
            + "Error removing image from datastore. Retry the operation or manually remove image source"
        )

    def _image(self, image: Stored) -> str:
        return (
            f"<IMAGE><ID>{image.id}</ID>{owned(image.owner)}<NAME>{escape(image.name)}</NAME>{permissions()}"
            f"<TYPE>{image.type}</TYPE><DISK_TYPE>0</DISK_TYPE><PERSISTENT>{image.persistent:d}</PERSISTENT>"
            f"<REGTIME>{image.made:.0f}</REGTIME>{f'<MODTIME>{image.made:.0f}</MODTIME>' if self.since(7) else ''}<SOURCE>/var/lib/one/datastores/1/{image.id}</SOURCE><PATH/>"
            f"<FORMAT>raw</FORMAT><FS/><SIZE>{image.size}</SIZE><STATE>{image.state}</STATE><PREV_STATE>{image.state}</PREV_STATE>"
            f"<RUNNING_VMS>{len(image.vms)}</RUNNING_VMS><CLONING_OPS>0</CLONING_OPS><CLONING_ID>-1</CLONING_ID>"
            f"<TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT><DATASTORE_ID>1</DATASTORE_ID><DATASTORE>default</DATASTORE>"
            f"<VMS>{''.join(f'<ID>{vm}</ID>' for vm in image.vms)}</VMS><CLONES/><APP_CLONES/>"
            f"{vector('TEMPLATE', {'DEV_PREFIX': 'vd', **image.said})}<SNAPSHOTS><ALLOW_ORPHANS>NO</ALLOW_ORPHANS>"
            f"<CURRENT_BASE>-1</CURRENT_BASE><NEXT_SNAPSHOT>0</NEXT_SNAPSHOT></SNAPSHOTS>{'<BACKUP_INCREMENTS/>' if self.since(6, 6) else ''}"
            f"{'<BACKUP_DISK_IDS/>' if self.since(6, 10) else ''}</IMAGE>"
        )
