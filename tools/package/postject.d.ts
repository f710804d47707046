// SPDX-License-Identifier: Apache-2.0
/** The part of postject that is used; the package has no declarations. */
declare module "postject" {
  export function inject(
    filename: string,
    resourceName: string,
    resourceData: Buffer,
    options?: { readonly sentinelFuse?: string },
  ): Promise<void>;
}
